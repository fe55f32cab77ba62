"""Intervals and paired tests against sums written out by hand and against scipy's own."""

import math

import numpy as np
import pytest
from scipy import stats

from sightline.evaluate import (
    accuracy_interval,
    mcnemar,
    paired_bootstrap,
    paired_t,
    paired_test,
    t_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("right", "total"), [(0, 7), (7, 7), (3, 7), (341, 359), (1, 1)])
def test_wilson_is_where_the_score_test_turns(right, total):
    interval = wilson_interval(right, total)
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    z = 1.959963984540054
    for end in (interval.low, interval.high):
        if 0 < end < 1:
            assert abs(right / total - end) / math.sqrt(end * (1 - end) / total) == pytest.approx(z)


def test_t_interval_by_hand():
    values = [0.90, 0.92, 0.97]
    mean = sum(values) / 3
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / 2)
    interval = t_interval(values)
    assert interval.mean == pytest.approx(mean)
    assert interval.high - mean == pytest.approx(4.302652729911275 * spread / math.sqrt(3))  # t(0.975, 2)
    assert mean - interval.low == pytest.approx(interval.high - mean)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 1), (8, 8), (3, 20)])
def test_mcnemar_is_a_sum_of_coin_tosses(only_a, only_b):
    a = np.array([1] * only_a + [0] * only_b + [1] * 4 + [0] * 2)
    b = np.array([0] * only_a + [1] * only_b + [1] * 4 + [0] * 2)
    tosses, least = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(tosses, k) for k in range(least + 1)) / 2**tosses
    assert mcnemar(a, b) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(b, a) == pytest.approx(mcnemar(a, b))


def test_bootstrap_agrees_with_redrawing_images():
    rng = np.random.default_rng(1)
    a, b = rng.random(60) < 0.9, rng.random(60) < 0.7
    interval = paired_bootstrap(a, b)
    redrawn = []
    for _ in range(4000):
        chosen = rng.integers(0, 60, 60)
        redrawn.append(a[chosen].mean() - b[chosen].mean())
    low, high = np.quantile(redrawn, [0.025, 0.975])
    assert interval.mean == pytest.approx(a.mean() - b.mean())
    assert interval.low == pytest.approx(low, abs=0.025)
    assert interval.high == pytest.approx(high, abs=0.025)
    assert interval == paired_bootstrap(a, b), "the draws follow from the seed"


def test_paired_t_is_scipys():
    a, b = [0.91, 0.95, 0.93, 0.96], [0.90, 0.91, 0.93, 0.92]
    paired, other = paired_t(a, b), stats.ttest_rel(a, b)
    assert paired.p == pytest.approx(other.pvalue)
    ends = other.confidence_interval()
    assert (paired.low, paired.high) == (pytest.approx(ends.low), pytest.approx(ends.high))


def test_equal_runs_do_not_differ():
    assert paired_t([0.5, 0.6], [0.5, 0.6]).p == 1.0


def test_one_seed_asks_the_images_several_ask_the_seeds():
    a, b = np.array([1, 1, 1, 1, 0]), np.array([1, 0, 0, 1, 0])
    one = paired_test(a, b)
    assert (one.test, one.difference, one.p) == ("exact McNemar", pytest.approx(0.4), mcnemar(a, b))
    several = paired_test(np.stack([a, a]), np.stack([b, a]))
    assert several.test == "paired t over seeds"
    assert several.difference == pytest.approx(0.2)
    assert accuracy_interval(a).low == wilson_interval(4, 5).low
    assert accuracy_interval(np.stack([a, b])).mean == pytest.approx(0.6)
    assert accuracy_interval(np.stack([a, b])).high == 1.0, "an accuracy is at most 1"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson_interval(5, 4), "got right=5, total=4"),
        (lambda: wilson_interval(1, 2, 95), "between 0 and 1, for example 0.95; got 95"),
        (lambda: t_interval([0.5]), "two runs or more; got 1"),
        (lambda: paired_t([0.5], [0.5, 0.6]), "got 1 and 2 runs"),
        (lambda: mcnemar([1, 0], [1]), r"got shapes \(2,\) and \(1,\)"),
        (lambda: accuracy_interval([]), r"not empty; got shape \(0,\)"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
