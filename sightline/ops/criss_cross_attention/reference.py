"""The definition in plain PyTorch, one matrix product per line of the cross: any device, any float dtype, autograd, exportable.

Legend: B batch, D E key and value channels, T frames, H W rows and columns, L length of a line, Q queries, S entries.
"""

from typing import Any

import torch
from torch import Tensor

from sightline.ops import window
from sightline.ops.precision import widen, without_autocast
from sightline.ops.support import CrissCross

# The axis each line runs along, in the order of the entries: down the column, along the row, through the frames.
LINES = (-2, -1, -3)


def objection(*operands: Any, **options: Any) -> str | None:
    """The reference runs everything."""
    return None


def run(query, key, value) -> Tensor:
    """See `sightline.ops.criss_cross_attention`."""
    with without_autocast(query.device):
        q, k, v = widen(query, key, value)
        lines = LINES[: q.ndim - 2]
        logits = [_along(q, k, axis) for axis in lines]  # each B, [T,] H, W, L
        attention = torch.cat(logits, dim=-1).softmax(dim=-1).split([q.shape[axis] for axis in lines], dim=-1)
        y = torch.zeros((), dtype=v.dtype, device=v.device)
        for weight, axis in zip(attention, lines, strict=True):
            y = y + _gather(weight, v, axis)
        return y.to(query.dtype)


def _along(q: Tensor, k: Tensor, axis: int) -> Tensor:
    """q . k of every position with the line through it along axis (B, [T,] H, W, L); itself only in the first line."""
    logits = _lines(q, axis) @ _lines(k, axis).transpose(-1, -2)  # B, other axes, L, L
    if axis != LINES[0]:
        itself = torch.eye(logits.shape[-1], dtype=torch.bool, device=q.device)
        logits = logits.masked_fill(itself, float("-inf"))
    return logits.movedim(-2, axis - 1)


def _gather(weight: Tensor, v: Tensor, axis: int) -> Tensor:
    """Sum of the values of each line, weighted: (B, E, [T,] H, W) from weight (B, [T,] H, W, L)."""
    taken = weight.movedim(axis - 1, -2) @ _lines(v, axis)  # B, other axes, L, E
    return taken.movedim(-2, axis - 1).movedim(-1, 1)


def _lines(x: Tensor, axis: int) -> Tensor:
    """(B, C, [T,] H, W) as its lines along axis: (B, other axes, L, C)."""
    return x.movedim(axis, -1).movedim(1, -1)


def weights(query, key, *, queries) -> Tensor:
    """The softmax alone, (B, 1, Q, S), by gathering the keys of the queries asked for."""
    with without_autocast(query.device):
        q, k = widen(query, key)
        if queries is None:
            queries = torch.arange(q[0, 0].numel(), device=q.device)
        target = targets(tuple(q.shape[2:]), queries)  # Q, S
        taken = window.gather(k.flatten(2), target)  # B, D, Q, S
        logits = (q.flatten(2)[:, :, queries].unsqueeze(-1) * taken).sum(1)  # B, Q, S
        return logits.masked_fill(target < 0, float("-inf")).softmax(dim=-1).unsqueeze(1)


def targets(grid: tuple[int, ...], queries: Tensor) -> Tensor:
    """Flat keys (Q, S) of the entries of the flat queries (Q,) in a grid (H, W) or (T, H, W); -1 where an entry is the query."""
    height, width = grid[-2:]
    frame, within = queries // (height * width), queries % (height * width)
    plane = CrissCross().targets(height, width, within)  # Q, H+W
    plane = torch.where(plane < 0, -1, plane + frame[:, None] * (height * width))
    if len(grid) == 2:
        return plane
    through = torch.arange(grid[0], device=queries.device) * (height * width) + within[:, None]  # Q, T
    return torch.cat([plane, through.masked_fill(through == queries[:, None], -1)], dim=1)
