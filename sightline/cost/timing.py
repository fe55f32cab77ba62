"""Time calls side by side: round-robin, so that whatever disturbs the machine disturbs all alike.

Ours:   a sample is the mean over as many calls as take about `sample_seconds`; each round takes one sample of every call, starting
        with another one each time; ratios compare samples of the same round, so that a slow minute cancels out.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Clock = Callable[[], float]
LEAST = 3  # rounds that are made in any case


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


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    sample_seconds: float = 0.03,
    seconds: float = math.inf,
    each: float = math.inf,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds a call takes, a list of samples for each, of the same rounds from the first on.

    Args:
        calls: what to time; a call ends when its work is done (synchronise a GPU inside).
        rounds: samples of each call.
        sample_seconds: what a sample takes at least, by repeating the call.
        seconds: stop after the round in which this much time has passed, but not before three rounds.
        each: a call whose samples took this much time sits out all further rounds, but not the first three.
        clock: what tells the time.
    """
    names = list(calls)
    if not names:
        return {}
    repeats = {}
    for name in names:
        first = timed(
            calls[name], clock
        )  # it pays for what later calls find done; a long one is not made again just to know
        again = first if first > 10 * sample_seconds else timed(calls[name], clock)
        repeats[name] = max(math.ceil(sample_seconds / max(again, 1e-9)), 1)
    samples: dict[str, list[float]] = {name: [] for name in names}
    start = clock()
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            call, count = calls[name], repeats[name]
            if turn >= LEAST and sum(samples[name]) * count > each:
                continue
            samples[name].append(timed(lambda call=call, count=count: [call() for _ in range(count)], clock) / count)
        if turn + 1 >= LEAST and clock() - start > seconds:
            break
    return samples
