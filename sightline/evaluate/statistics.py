"""How sure is an accuracy, and do two nets differ? Intervals and paired tests on the same test images.

Sources: Wilson 1927 (interval of a share); Student's t over seeds; McNemar 1947 in its exact binomial form; the paired bootstrap of
Efron and Tibshirani 1993, chapter 13.
Ours: two-sided everywhere; with one seed the images are the sample (McNemar, bootstrap), with several the seeds are (paired t).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Net A minus net B in accuracy, its interval, the p-value of "no difference", and the test it is from."""

    difference: float
    low: float
    high: float
    p: float
    test: str


def wilson_interval(right: int, total: int, confidence: float = 0.95) -> Interval:
    """Interval of a share of `right` among `total` images; stays inside 0..1, holds for small sets and shares near 0 or 1.

    Raises:
        ValueError: total is not positive, or right is not within 0..total, or confidence not inside 0..1.
    """
    if not 0 <= right <= total or total < 1:
        raise ValueError(f"need 0 <= right <= total and total >= 1; got right={right}, total={total}")
    _upper(confidence)  # refuses one that is not inside 0..1
    share = right / total
    ends = stats.binomtest(right, total).proportion_ci(confidence, method="wilson")
    return Interval(share, min(share, float(ends.low)), max(share, float(ends.high)))


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of one value a seed.

    Raises:
        ValueError: fewer than two values.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < 2:
        raise ValueError(f"an interval over seeds needs two runs or more; got {sample.size}")
    half = float(stats.t.ppf(_upper(confidence), sample.size - 1) * sample.std(ddof=1) / math.sqrt(sample.size))
    mean = float(sample.mean())
    return Interval(mean, mean - half, mean + half)


def accuracy_interval(right: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of an accuracy from hits (seeds, images), or (images,) for one run: t over seeds, Wilson for one; within 0..1."""
    hits = _runs(right)
    if len(hits) == 1:
        return wilson_interval(int(hits.sum()), hits.shape[1], confidence)
    interval = t_interval(hits.mean(axis=1).tolist(), confidence)
    return Interval(interval.mean, max(0.0, interval.low), min(1.0, interval.high))


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> float:
    """Exact two-sided p-value that A and B err equally often, from their hits (images,) on the same images.

    Only images on which one is right and the other wrong count: under the null each is a fair coin.
    """
    a, b = _pair(right_a, right_b)
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def paired_bootstrap(
    right_a: ArrayLike, right_b: ArrayLike, confidence: float = 0.95, draws: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile interval of accuracy A minus B from hits (images,): images are redrawn with replacement, in pairs.

    The difference of an image is -1, 0 or 1, so a redrawn set is one multinomial draw of three counts.
    """
    a, b = _pair(right_a, right_b)
    total = a.size
    counts = np.array([(a & ~b).sum(), (~a & b).sum(), (a == b).sum()])
    drawn = np.random.default_rng(seed).multinomial(total, counts / total, size=draws)
    differences = (drawn[:, 0] - drawn[:, 1]) / total
    upper = _upper(confidence)
    low, high = np.quantile(differences, [1 - upper, upper])
    return Interval((int(counts[0]) - int(counts[1])) / total, float(low), float(high))


def paired_t(values_a: Sequence[float], values_b: Sequence[float], confidence: float = 0.95) -> Paired:
    """Paired t-test of one value a seed: run i of A and run i of B share their seed.

    Raises:
        ValueError: the numbers of runs differ or are below two.
    """
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"a paired test needs the same seeds on both sides; got {a.size} and {b.size} runs")
    differences = a - b
    interval = t_interval(differences.tolist(), confidence)
    spread = float(differences.std(ddof=1))
    if spread == 0:
        p = 1.0 if interval.mean == 0 else 0.0
    else:
        t = interval.mean / (spread / math.sqrt(differences.size))
        p = 2 * float(stats.t.sf(abs(t), differences.size - 1))
    return Paired(interval.mean, interval.low, interval.high, p, "paired t over seeds")


def paired_test(right_a: ArrayLike, right_b: ArrayLike, confidence: float = 0.95) -> Paired:
    """Compare two nets by their hits (seeds, images), or (images,) for one run each, on the same images in the same order.

    One run each: McNemar's exact test with a bootstrap interval. Several: paired t over seeds.
    """
    a, b = _runs(right_a), _runs(right_b)
    if len(a) == len(b) == 1:
        interval = paired_bootstrap(a[0], b[0], confidence)
        return Paired(interval.mean, interval.low, interval.high, mcnemar(a[0], b[0]), "exact McNemar")
    return paired_t(a.mean(axis=1).tolist(), b.mean(axis=1).tolist(), confidence)


def _runs(right: ArrayLike) -> NDArray[np.bool_]:
    hits = np.atleast_2d(np.asarray(right, dtype=bool))
    if hits.ndim != 2 or hits.size == 0:
        raise ValueError(f"hits must be (images,) or (seeds, images), not empty; got shape {np.shape(right)}")
    return hits


def _pair(right_a: ArrayLike, right_b: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(f"a paired test needs hits on the same images; got shapes {a.shape} and {b.shape}")
    return a, b


def _upper(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, for example 0.95; got {confidence}")
    return (1 + confidence) / 2
