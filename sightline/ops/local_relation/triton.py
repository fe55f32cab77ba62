"""The Triton kernels as a torch operator, `torch.ops.sightline.triton_local_relation`: float32, bfloat16 and float16 on a GPU.

Operands are read where they lie, in any layout; channels-last is the fast one. Backward gathers without atomics.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sightline.ops import triton_support as support
from sightline.ops.local_relation import cpu
from sightline.ops.native import operator
from sightline.ops.native.operator import empty_map, table
from sightline.ops.triton_support import power_of_two

OPERATOR = True
WIDEST = 64  # channels that share a weight
ELEMENTS = 4096  # of a tile's window row: positions, taps, channels
CHOICES = ({"num_warps": 4}, {"num_warps": 2})
NAME = "triton_local_relation"


def objection(query, key, value, geometry: Tensor | None, **options: Any) -> str | None:
    """Why the kernels can not run these operands; None when they can."""
    if (reason := support.objection(query, key, value, geometry)) is not None:
        return reason
    share = _share(key, value, options["share"])
    if share > WIDEST:
        return f"it takes up to {WIDEST} channels a weight; got {share}"
    return support.too_far(query, key, value)


def outrun(*operands: Any, **options: Any) -> bool:
    """The interpreter is slower than anything."""
    return support.INTERPRETING


def run(query, key, value, geometry, *, kernel_size, similarity, stride, dilation, border, order, share) -> Tensor:
    """See `sightline.ops.local_relation`."""
    window = (kernel_size, cpu.SIMILARITIES.index(similarity), stride, dilation)
    options = (*window, border == "exclude", order == "interleaved", _share(key, value, share))
    return torch.ops.sightline.triton_local_relation(query, key, value, geometry, *options)[0]


def forward(query, key, value, geometry, *options) -> tuple[Tensor, Tensor]:
    """Run the forward kernel: the answer, and of every softmax the largest logit and the inverse of the sum (B, G, h, w, 2)."""
    y, statistics = empty(query, key, value, geometry, *options)
    if y.numel():
        maps, prior = (query, key, value, y), _prior(geometry, query)
        _launch("forward", query, (*maps[:3], prior, y, statistics), maps, query, key, value, geometry, *options)
    return y, statistics


def backward(needed, grad, y, statistics, query, key, value, geometry, *options) -> list[Tensor | None]:
    """Run the backward kernels: gradients of the four operands, None where they are not needed."""
    operands = (query, key, value, geometry)
    if not y.numel():
        return [torch.zeros_like(one) if want else None for one, want in zip(operands, needed, strict=True)]
    prior, delta = _prior(geometry, query), torch.empty_like(statistics[..., 0])
    d_query, d_key, d_value = (torch.empty_like(one) for one in (query, key, value))
    tiles = _tiles(query, _positions(options[-1], options[0]))
    taps = options[0] ** 2
    sums = statistics.new_empty(query.shape[0] * tiles[0] * tiles[1], key.shape[1], taps if geometry is not None else 0)
    read = (query, key, value, prior, statistics, grad)
    maps = (query, key, value, grad, d_query)
    _launch("backward_queries", query, (*read, d_query, delta, sums), maps, *operands, *options)
    if needed[1] or needed[2]:
        maps = (query, key, value, grad, d_key, d_value)
        _launch("backward_keys", key, (*read, delta, d_key, d_value), maps, *operands, *options)
    d_prior = None if geometry is None else sums.sum(0).view_as(geometry).to(geometry.dtype)
    return [one if want else None for one, want in zip((d_query, d_key, d_value, d_prior), needed, strict=True)]


def _launch(name, grid, tensors, maps, query, key, value, geometry, *options) -> None:
    """Start a kernel on tiles of `grid`."""
    from sightline.ops.local_relation import kernels

    kernel_size, similarity, stride, dilation, exclude, interleaved, share = options
    groups = key.shape[1]
    positions, unit = _positions(share, kernel_size), _unit(maps, groups)
    down, across = _tiles(grid, positions)
    support.launch(
        getattr(kernels, name),
        lambda _options: (down * across * groups * grid.shape[0],),
        *tensors,
        *_steps(maps, groups, unit),
        *key.shape[2:],
        *query.shape[2:],
        groups,
        down,
        across,
        device=query.device,
        choices=CHOICES,
        m=share,
        CHANNELS=value.shape[1],
        INTERLEAVED=interleaved,
        UNIT=unit,
        K=kernel_size,
        STRIDE=stride,
        STEP=dilation,
        KIND=similarity,
        PRIOR=geometry is not None,
        **({} if name == "backward_keys" else {"EXCLUDE": exclude}),
        P=positions,
        T=power_of_two(kernel_size),
        M=power_of_two(share),
    )


def _unit(maps: Sequence[Tensor], groups: int) -> int:
    """Elements that all steps of maps with values, but those between channels, are multiples of."""
    wide = [one for one in maps if one.shape[1] != groups]
    steps = [step for one in wide for step in (one.stride(0), *one.stride()[2:])]
    return math.gcd(8, *steps) if wide else 1


def _steps(maps: Sequence[Tensor], groups: int, unit: int) -> list[int]:
    """Batch, channel, row and column steps; those of maps with values in units."""
    found = []
    for one in maps:
        whole = 1 if one.shape[1] == groups else unit
        batch, channel, row, col = one.stride()
        found += [batch // whole, channel, row // whole, col // whole]
    return found


def _share(key: Tensor, value: Tensor, share: int | None) -> int:
    return value.shape[1] // key.shape[1] if share is None else share


def _positions(share: int, kernel_size: int) -> int:
    """Positions of a tile, a multiple of 8: fewer where windows or groups are wide."""
    return min(max(ELEMENTS // (power_of_two(kernel_size) * power_of_two(share)), 8), 64)


def _tiles(grid: Tensor, positions: int) -> tuple[int, int]:
    return -(-grid.shape[2] // (positions // 8)), -(-grid.shape[3] // 8)


def _prior(geometry: Tensor | None, query: Tensor) -> Tensor:
    return query if geometry is None else table(geometry)


def empty(query, key, value, geometry, *options) -> tuple[Tensor, Tensor]:
    """An answer of the right shape, in the query's dtype and the value's memory format, and room for the statistics."""
    batch, groups, *grid = query.shape
    return empty_map(query, value.shape[1], layout=value), query.new_empty(
        (batch, groups, *grid, 2), dtype=torch.float32
    )


operator.register(
    NAME, cpu.SCHEMA, forward, backward, empty, cpu.flops, cpu.definition, support.DEVICES, statistics=True
)
