"""Growth of time with the number of pixels: the same operator on maps of 32 to 256 pixels a side, and the slope in logarithms.

A slope of 1 is linear in the number of pixels, 2 quadratic. The last doubling alone is given too: small maps have fixed costs.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.bench.case import BASELINE, FORWARD, CannotRunError, Contender, Prepared
from sightline.bench.measure import call, entry, fill, judge, record
from sightline.bench.ops import exactly, ours
from sightline.bench.settings import Settings
from sightline.cost.timing import interleaved, spread

SIDES = (32, 64, 128, 256)
CHANNELS, HEADS, SHARE, WINDOW = 64, 8, 8, 7
LONGEST = 2.0  # seconds of a call that are waited for
Make = Callable[[int, str], Prepared]


@dataclass(frozen=True)
class Growth:
    """An operator on growing maps.

    Args:
        name: of the case.
        about: the operands, for people.
        make: pixels a side, device -> tensors and contenders.
        quick: part of a quick run?
    """

    name: str
    about: str
    make: Make
    quick: bool = True


def cases() -> list[Growth]:
    """One a kind of operator."""
    window = f"{CHANNELS} channels, {WINDOW} x {WINDOW}, batch 1"
    return [
        Growth("local_attention", window, _local_attention),
        Growth("local_relation", window, _local_relation),
        Growth("vector_attention", window, _vector_attention),
        Growth("criss_cross_attention", "queries of 8, values of 64 channels, batch 1", _criss_cross),
        Growth("dot_product", "64 channels, batch 1", partial(_pairwise, "dot_product")),
        Growth("concatenation", "64 channels, batch 1", partial(_pairwise, "concatenation")),
        Growth("embedded_gaussian", "64 channels, batch 1", partial(_pairwise, "embedded_gaussian"), quick=False),
    ]


def measure(case: Growth, settings: Settings) -> dict[str, Any]:
    """Times of every contender at every size, the gate at its smallest; a size is left out once it would take too long."""
    torch.manual_seed(0)
    sides = SIDES[:2] if settings.quick else SIDES
    wait = torch.cuda.synchronize if settings.device.startswith("cuda") else None
    records: dict[str, dict[str, Any]] = {}
    for side in sides:
        prepared = case.make(side, settings.device)
        new = [one for one in prepared.contenders if one.name not in records]
        verdicts = judge(replace(prepared, contenders=new), backward=False) if new else {}
        records |= {one.name: record(one, verdicts[one.name]) | {"sides": []} for one in new}
        able = [one for one in prepared.contenders if _worth_it(records[one.name], side)]
        able = [replace(one, needs=0) for one in able]
        calls = {one.name: call(one, prepared.operands, FORWARD, wait) for one in able}
        calls = {name: one for name, one in calls.items() if _runs(one)}
        fill(records, str(side), interleaved(calls, min(settings.rounds, 5), settings.sample_seconds, settings.seconds))
        for name in calls:
            records[name]["sides"].append(side)
    for one in records.values():
        points = [(side, spread(one["seconds"][str(side)]).median) for side in one["sides"]]
        one["slope"], one["last_slope"] = slope(points), slope(points[-2:])
    return entry(case, records, batch=1)


def slope(points: Sequence[tuple[int, float]]) -> float | None:
    """Least-squares slope of log time over log pixels, from (pixels a side, seconds); None of fewer than two points."""
    if len(points) < 2:
        return None
    pixels, seconds = ([math.log(side * side) for side, _ in points], [math.log(time) for _, time in points])
    return round(statistics.linear_regression(pixels, seconds).slope, 3)


def _worth_it(one: dict[str, Any], side: int) -> bool:
    """Not refused, without a gap in sizes, and, should time grow with the square of the pixels, not beyond `LONGEST`."""
    if one["refused"]:
        return False
    done = one["sides"]
    if not done:
        return True
    expected = spread(one["seconds"][str(done[-1])]).median * (side / done[-1]) ** 4
    in_sequence = done[-1] == SIDES[SIDES.index(side) - 1]
    return in_sequence and expected < LONGEST


def _runs(call: Callable[[], object]) -> bool:
    """A backend for small maps objects to larger ones."""
    try:
        call()
    except (CannotRunError, NotImplementedError):
        return False
    return True


def _image(channels: int, side: int, device: str) -> Tensor:
    return torch.randn(1, channels, side, side, device=device)


def _prepared(
    op: str, operands: tuple[Tensor | None, ...], options: dict[str, Any], others: list[Contender]
) -> Prepared:
    many = tuple(one is not None and one.ndim > 3 for one in operands)
    return Prepared(operands, many, exactly(op, options), [*ours(op, operands, options), *others], 0)


def _convolution(side: int, device: str) -> Contender:
    operands = (_image(CHANNELS, side, device), torch.randn(CHANNELS, CHANNELS, 3, 3, device=device))
    return Contender("3 x 3 convolution", partial(F.conv2d, padding=1), BASELINE, operands)


def _local_attention(side: int, device: str) -> Prepared:
    q, k, v = (_image(CHANNELS, side, device) for _ in range(3))
    rows, cols = (torch.randn(HEADS, CHANNELS // HEADS // 2, WINDOW, device=device) for _ in range(2))
    options = {"kernel_size": WINDOW, "heads": HEADS, "stride": 1, "dilation": 1, "border": "exclude"}
    return _prepared("local_attention", (q * 0.3, k, v, rows, cols), options, [_convolution(side, device)])


def _local_relation(side: int, device: str) -> Prepared:
    groups = CHANNELS // SHARE
    q, k, v = (_image(count, side, device) for count in (groups, groups, CHANNELS))
    options = {"kernel_size": WINDOW, "similarity": "multiply", "stride": 1, "dilation": 1, "border": "exclude"}
    prior = torch.randn(groups, WINDOW * WINDOW, device=device)
    return _prepared(
        "local_relation", (q, k, v, prior), options | {"order": "contiguous"}, [_convolution(side, device)]
    )


def _vector_attention(side: int, device: str) -> Prepared:
    logits = torch.randn(1, CHANNELS // SHARE, WINDOW * WINDOW, side, side, device=device)
    options = {"kernel_size": WINDOW, "normalise": "softmax", "stride": 1, "dilation": 1, "border": "reflect"}
    return _prepared(
        "vector_attention", (logits, _image(CHANNELS, side, device)), options, [_convolution(side, device)]
    )


def _criss_cross(side: int, device: str) -> Prepared:
    operands = (_image(8, side, device), _image(8, side, device), _image(CHANNELS, side, device))
    return _prepared("criss_cross_attention", operands, {}, [_convolution(side, device)])


def _pairwise(similarity: str, side: int, device: str) -> Prepared:
    q, k, v = (_image(CHANNELS, side, device) for _ in range(3))
    weight = torch.randn(2 * CHANNELS, device=device) if similarity == "concatenation" else None
    options = {"similarity": similarity, "scale": CHANNELS**-0.5 if similarity == "embedded_gaussian" else 1.0}
    return _prepared("pairwise_attention", (q, k, v, weight), options, [_convolution(side, device)])
