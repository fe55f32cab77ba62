"""Time calls side by side: round-robin, so that whatever disturbs the machine disturbs all alike.

Ours:   a sample is the mean over as many calls as take about `sample_seconds`; each round takes one sample of every call, starting
        with another one each time; ratios compare samples of the same round, so that a slow minute cancels out. Long calls sit
        out the later rounds, so that they do not cost the short ones their samples.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

Clock = Callable[[], float]
Between = Callable[[Callable[[], object], int], float]  # a call, how often -> seconds
LEAST = 3  # rounds that are made in any case
LONG = 10  # samples: a call that takes more is not made again just to know how long it takes


@dataclass(frozen=True)
class Spread:
    """Median and middle half of some samples.

    Args:
        median, low, high: the median and the quartiles.
        n: number of samples.
    """

    median: float
    low: float
    high: float
    n: int


def spread(samples: Sequence[float]) -> Spread:
    """Median and quartiles; of fewer than four samples the smallest and largest stand for the quartiles."""
    if not samples:
        raise ValueError("spread needs at least one sample")
    if len(samples) < 4:
        return Spread(statistics.median(samples), min(samples), max(samples), len(samples))
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(middle, low, high, len(samples))


def ratios(samples: Sequence[float], base: Sequence[float]) -> list[float]:
    """Ratio of two calls, round by round, as far as both were sampled."""
    return [one / other for one, other in zip(samples, base, strict=False)]


def timed(call: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Seconds that one call takes."""
    start = clock()
    call()
    return clock() - start


def elapsed(call: Callable[[], object], times: int) -> float:
    """Seconds that so many calls take."""
    return timed(lambda: [call() for _ in range(times)])


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    sample_seconds: float = 0.03,
    each: float = math.inf,
    between: Between = elapsed,
    known: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, list[float]]:
    """Seconds a call takes, a list of samples for each, of the same rounds from the first on.

    Args:
        calls: what to time; a call ends when its work is done, or `between` waits for it.
        rounds: samples of each call.
        sample_seconds: what a sample takes at least, by repeating the call.
        each: a call whose samples took this much time sits out all further rounds, but not the first three.
        between: times so many calls.
        known: what a call took that was made before; others are made first, once to pay for what later calls find done.
    """
    repeats = {
        name: max(math.ceil(sample_seconds / max(known.get(name) or _once(call, sample_seconds, between), 1e-9)), 1)
        for name, call in calls.items()
    }
    names = list(calls)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        start = turn % max(len(names), 1)
        for name in names[start:] + names[:start]:
            count = repeats[name]
            if turn < LEAST or sum(samples[name]) * count <= each:
                samples[name].append(between(calls[name], count) / count)
    return samples


def _once(call: Callable[[], object], sample_seconds: float, between: Between) -> float:
    """What a call takes once it is warm; a long one is not made again just to know."""
    first = between(call, 1)
    return first if first > LONG * sample_seconds else between(call, 1)
