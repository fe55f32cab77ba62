"""The Triton kernels as a torch operator, `torch.ops.sightline.triton_criss_cross_attention`: float32, bfloat16, float16 on a GPU.

One launch a direction (column, row, frames), merged by the softmax's sums; operands are read where they lie, channels-last being
the fast layout. Scratch is one float32 sum a channel, never a weight.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sightline.ops import triton_support as support
from sightline.ops.criss_cross_attention import cpu, reference
from sightline.ops.native import operator
from sightline.ops.triton_support import power_of_two

OPERATOR = True
DEEPEST = 128  # key channels
CHOICES = ({"num_warps": 4, "num_stages": 2}, {"num_warps": 4, "num_stages": 1})
NAME = "triton_criss_cross_attention"


def objection(query: Tensor, key: Tensor, value: Tensor) -> str | None:
    """Why the kernels can not run these operands; None when they can."""
    if (reason := support.objection(query, key, value)) is not None:
        return reason
    if query.shape[1] > DEEPEST:
        return f"it takes up to {DEEPEST} key channels; got {query.shape[1]}"
    return support.too_far(query, key, value)


def outrun(*operands: Any) -> bool:
    """The interpreter is slower than anything."""
    return support.INTERPRETING


def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """See `sightline.ops.criss_cross_attention`."""
    return torch.ops.sightline.triton_criss_cross_attention(query, key, value)[0]


def forward(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Run the forward kernel: the answer, and of every softmax the largest logit and the inverse of the sum, (B, positions, 2)."""
    y, statistics = empty(query, key, value)
    if y.numel():
        q, k, v = support.common(query, key, value)
        directions = _Directions(q, v)
        sums, before = directions.scratch(v.shape[1]), statistics
        for number, line in enumerate(directions.lines):
            after = statistics if number == directions.last else torch.empty_like(statistics)
            directions.launch("forward", line, "M", (q, k, v, y), (q, k, v, y, sums, before, after), parts=True)
            before = after
    return y, statistics


def backward(needed, grad, y, statistics, query, key, value) -> list[Tensor | None]:
    """Run the backward kernels: gradients of the three operands, None where they are not needed."""
    if not y.numel():
        return [torch.zeros_like(one) if want else None for one, want in zip((query, key, value), needed, strict=True)]
    q, k, v = support.common(query, key, value)
    d_query, d_key, d_value = (torch.empty_like(one) for one in (query, key, value))
    directions = _Directions(q, v)
    delta, narrow = torch.empty_like(statistics[..., 0]), directions.scratch(q.shape[1])
    maps, read = (q, k, v, grad), (q, k, v, statistics, grad, delta, narrow)
    for only_delta in (True, False):
        if only_delta or needed[0]:
            for line in directions.lines if needed[0] or needed[1] else ():
                given = (*maps, d_query), (*read, d_query)
                directions.launch("backward_queries", line, "M", *given, DELTA=only_delta)
    for line in directions.lines if needed[1] else ():
        directions.launch("backward_keys", line, "N", (*maps, d_key), (*read, d_key))
    wide = directions.scratch(v.shape[1]) if needed[2] else narrow
    for line in directions.lines if needed[2] else ():
        tensors = (q, k, statistics, grad, wide, d_value)
        directions.launch("backward_values", line, "N", (q, k, grad, d_value), tensors, parts=True)
    return [one if want else None for one, want in zip((d_query, d_key, d_value), needed, strict=True)]


class _Directions:
    """The directions of a grid, in the reference's order, and launches along one."""

    def __init__(self, query: Tensor, value: Tensor) -> None:
        self.query, self.value = query, value
        self.lines = reference.LINES[: query.ndim - 2]
        self.last = len(self.lines) - 1
        self.grid = query.shape[2:]

    def scratch(self, channels: int) -> Tensor:
        """Float32 sums of every position; one where no direction follows another."""
        batch = self.query.shape[0]
        return self.query.new_empty(batch * self.grid.numel() * channels, dtype=torch.float32)

    def launch(self, name, line: int, side: str, maps, tensors, parts: bool = False, **options: Any) -> None:
        from sightline.ops.criss_cross_attention import kernels

        length, first, last = self.grid[line], line == self.lines[0], line == self.lines[-1]
        many = 32 if self.query.element_size() == 4 else 64
        block = min(power_of_two(length, 16), many)
        channels = min(power_of_two(self.value.shape[1], 16), many)
        others = [axis for axis in self.lines if axis != line]
        n1, n2 = ([1] * (2 - len(others)) + [self.grid[axis] for axis in others])[:2]
        blocks = -(-length // block) * (-(-self.value.shape[1] // channels) if parts else 1)
        support.launch(
            getattr(kernels, name),
            lambda _options: (blocks * n1 * n2 * self.query.shape[0],),
            *tensors,
            *[step for one in maps for step in (*one.stride()[:2], *_steps(one.stride()[2:], line, others))],
            length,
            n1,
            n2,
            self.grid.numel(),
            *_steps(_contiguous(self.grid), line, others),
            device=self.query.device,
            choices=CHOICES if _repeatable(first, last, **options) else CHOICES[:1],
            D=self.query.shape[1],
            E=self.value.shape[1],
            FIRST=first,
            LAST=last,
            PRECISION=support.precision(self.query.dtype),
            M=block,
            N=block,
            BD=power_of_two(self.query.shape[1], 16),
            BE=channels,
            **options,
        )


def _repeatable(first: bool, last: bool, DELTA: bool = False) -> bool:
    """Whether a launch may be timed: one in between reads the sums that it replaces; so do those of delta but the first."""
    return first or (last and not DELTA)


def _steps(steps: Sequence[int], line: int, others: Sequence[int]) -> list[int]:
    """Steps of a grid in the kernels' order: the two other axes (0 for a missing one), then along the line."""
    return [*[0] * (2 - len(others)), *[steps[axis] for axis in others], steps[line]]


def _contiguous(grid: Sequence[int]) -> list[int]:
    steps = [1]
    for size in reversed(grid[1:]):
        steps.insert(0, steps[0] * size)
    return steps


def empty(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """An answer of the right shape, in the query's dtype, and room for the statistics."""
    room = query.new_empty((query.shape[0], query.shape[2:].numel(), 2), dtype=torch.float32)
    return cpu.empty(query, key, value), room


operator.register(
    NAME, cpu.SCHEMA, forward, backward, empty, cpu.flops, reference.run, support.DEVICES, statistics=True
)
