"""The definition in plain PyTorch: any device, any float dtype, autograd, exportable.

Legend: B batch, N heads, D E key and value channels a head, M mixtures, H W rows and columns, K side of the footprint,
        L blocks, S T = K*K places of a block (as query, as key), Q queries.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops import window
from sightline.ops.dispatch import known
from sightline.ops.local_attention import reference as local
from sightline.ops.precision import widen, without_autocast


def objection(*operands: Any, **options: Any) -> str | None:
    """The reference runs everything."""
    return None


def run(query, key, value, mixture, relative_rows, relative_cols, *, kernel_size, heads, footprint, border) -> Tensor:
    """See `sightline.ops.stem_attention`."""
    with without_autocast(query.device):
        q, k, v, p, rows, cols = widen(query, key, value, mixture, relative_rows, relative_cols)
        attend = _attend_blocks if footprint == "block" else _attend_windows
        return attend(q, k, v, p, rows, cols, kernel_size, heads, border).to(query.dtype)


def _attend_windows(q, k, v, p, rows, cols, kernel_size, heads, border) -> Tensor:
    attention = local.softmax(q, k, rows, cols, kernel_size, heads, 1, 1, border)  # B, N, K*K, H, W
    y = torch.zeros((), dtype=v.dtype, device=v.device)
    taps = window.shifted(v, kernel_size, 1, 1, border)
    for weight, share, tap in zip(attention.unbind(2), p.unbind(1), taps, strict=True):
        mixed = _mix(tap, share[:, None, None, None])  # B, N*E, H, W
        y = y + weight.unsqueeze(2) * mixed.unflatten(1, (heads, -1))  # B, N, E, H, W
    return y.flatten(1, 2)


def _attend_blocks(q, k, v, p, rows, cols, kernel_size, heads, border) -> Tensor:
    attention = _softmax_blocks(q, k, rows, cols, kernel_size, heads, border)  # B, N, L, S, T
    mixed = to_blocks(_mix(v, _tiled(p, kernel_size, *v.shape[2:])), kernel_size)  # B, N*E, L, T
    y = torch.einsum("bnlst,bnelt->bnels", attention, mixed.unflatten(1, (heads, -1)))
    return from_blocks(y.flatten(1, 2), kernel_size, *q.shape[2:])


def _tiled(p: Tensor, side: int, height: int, width: int) -> Tensor:
    """Shares (M, K*K) by the pixel that is read: (M, 1, H, W). All queries of a block read a pixel at the same place."""
    tiled = p.unflatten(1, (side, side)).repeat(1, -(-height // side), -(-width // side))
    return _cropped(tiled[:, None], height, width)


def _mix(value: Tensor, share: Tensor) -> Tensor:
    """Sum the M outermost channel groups of value, each times its share; all at once would be a copy of value."""
    first, *others = value.unflatten(1, (len(share), -1)).unbind(1)
    total = first * share[0]
    for group, part in zip(others, share[1:], strict=True):
        total = torch.addcmul(total, group, part)
    return total


def _softmax_blocks(q, k, rows, cols, kernel_size, heads, border) -> Tensor:
    height, width = q.shape[2:]
    q, k = (to_blocks(x, kernel_size).unflatten(1, (heads, -1)) for x in (q, k))  # B, N, D, L, S
    logits = torch.einsum("bndls,bndlt->bnlst", q, k)
    if rows is not None:
        part = rows.shape[1]
        by_row, by_col = offsets(kernel_size, q.device)
        logits = logits + torch.einsum(
            "bndls,ndst->bnlst", q[:, :, :part], rows[:, :, by_row].expand(heads, -1, -1, -1)
        )
        logits = logits + torch.einsum(
            "bndls,ndst->bnlst", q[:, :, part:], cols[:, :, by_col].expand(heads, -1, -1, -1)
        )
    if border == "exclude":
        logits = mask_outside(logits, height, width, kernel_size)
    return logits.softmax(dim=-1)


def mask_outside(logits: Tensor, height: int, width: int, kernel_size: int) -> Tensor:
    """Logits (B, N, L, S, T), -infinity for keys outside the image."""
    inside = to_blocks(torch.ones(1, 1, height, width, dtype=torch.bool, device=logits.device), kernel_size)
    return logits.masked_fill(~inside.unsqueeze(3), float("-inf"))


def offsets(kernel_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Entries (S, T) of the row and column tables: place of key T minus place of query S, zero at K - 1."""
    place = torch.arange(kernel_size * kernel_size, device=device)
    row, col = place // kernel_size, place % kernel_size
    return row[None] - row[:, None] + kernel_size - 1, col[None] - col[:, None] + kernel_size - 1


def to_blocks(x: Tensor, side: int) -> Tensor:
    """(B, C, H, W) to (B, C, L, S), zeros (False) where a block leaves the image."""
    down, across = -(-x.shape[2] // side), -(-x.shape[3] // side)
    x = F.pad(x, (0, across * side - x.shape[3], 0, down * side - x.shape[2]))
    x = x.unflatten(3, (across, side)).unflatten(2, (down, side))  # B, C, H/K, K, W/K, K
    return x.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def from_blocks(y: Tensor, side: int, height: int, width: int) -> Tensor:
    """(B, C, L, S) back to (B, C, H, W)."""
    y = y.unflatten(3, (side, side)).unflatten(2, (-(-height // side), -(-width // side)))  # B, C, H/K, W/K, K, K
    return _cropped(y.transpose(3, 4).flatten(4, 5).flatten(2, 3), height, width)


def _cropped(x: Tensor, height: int, width: int) -> Tensor:
    """The first rows and columns of (B, C, H', W'); where the sizes are symbols a copy, for a view would ask whether it is all."""
    if known(height) and known(width):
        return x[:, :, :height, :width]
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))


def weights(query, key, relative_rows, relative_cols, *, queries, kernel_size, heads, footprint, border) -> Tensor:
    """The softmax alone, (B, N, Q, K*K)."""
    options = {"kernel_size": kernel_size, "heads": heads, "border": border}
    if footprint == "window":
        operands = (query, key, relative_rows, relative_cols)
        return local.weights(*operands, queries=queries, stride=1, dilation=1, **options)
    with without_autocast(query.device):
        q, k, rows, cols = widen(query, key, relative_rows, relative_cols)
        height, width = q.shape[2:]
        if queries is None:
            queries = torch.arange(height * width, device=q.device)
        row, col = queries // width, queries % width
        block = (row // kernel_size) * (-(-width // kernel_size)) + col // kernel_size
        place = (row % kernel_size) * kernel_size + col % kernel_size
        return _softmax_blocks(q, k, rows, cols, **options)[:, :, block, place]
