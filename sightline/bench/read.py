"""Read measured cases: medians, ratios, refusals."""

from collections.abc import Iterable, Mapping
from typing import Any

from sightline.cost.timing import Spread, ratios, spread

Record = Mapping[str, Any]


def seconds(contender: Record, direction: str) -> Spread | None:
    """Seconds of a call; None where it was not timed."""
    samples = contender["seconds"].get(direction)
    return spread(samples) if samples else None


def named(case: Record, name: str) -> Record | None:
    """A contender by name."""
    return next((one for one in case["contenders"] if one["name"] == name), None)


def fastest(contenders: Iterable[Record], direction: str) -> Record | None:
    """The contender of the smallest median among those timed."""
    timed = [(found.median, index, one) for index, one in enumerate(contenders) if (found := seconds(one, direction))]
    return min(timed)[2] if timed else None


def baseline(case: Record, direction: str) -> Record | None:
    """The fastest baseline: the convolution in its best layout."""
    return fastest((one for one in case["contenders"] if one["kind"] == "baseline"), direction)


def ratio(one: Record | None, other: Record | None, direction: str) -> Spread | None:
    """Time of one over time of the other, round by round; None where either has none."""
    if one is None or other is None:
        return None
    mine, theirs = one["seconds"].get(direction), other["seconds"].get(direction)
    return spread(ratios(mine, theirs)) if mine and theirs else None


def memory_ratio(one: Record | None, other: Record | None, direction: str) -> float | None:
    """Peak extra memory of one over that of the other."""
    if one is None or other is None:
        return None
    mine, theirs = one["memory"].get(direction), other["memory"].get(direction)
    return mine / theirs if mine is not None and theirs else None


def limit(case: Record) -> float | None:
    """Seconds below which no kernel gets on this machine: its multiply-adds at the peak of matrix products, or its bytes at the
    bandwidth of a copy, whichever takes longer. None where the closed form does not tell."""
    if not case["macs"] or not case.get("bytes_moved"):
        return None
    machine = case["machine"]
    return max(2 * case["macs"] / machine["matmul_gflops"], case["bytes_moved"] / machine["copy_gbytes"]) / 1e9


def gflops(case: Record, contender: Record, direction: str = "forward") -> float | None:
    """Useful billions of operations a second (a multiply-add counting two), by the closed form of the case."""
    found = seconds(contender, direction)
    return None if found is None or not case["macs"] else 2 * case["macs"] / found.median / 1e9
