"""The definition in plain PyTorch, two matrix products around a softmax: any device, any float dtype, autograd, exportable.

Legend: B batch, N heads, L queries, S keys, D E key and value channels a head, H W rows and columns of the grid, Q asked queries.
"""

from typing import Any

import torch
from torch import Tensor

from sightline.ops.precision import widen, without_autocast


def objection(*operands: Any, **options: Any) -> str | None:
    """The reference runs everything."""
    return None


def run(query, key, value, relative_rows, relative_cols, *, grid, scale) -> Tensor:
    """See `sightline.ops.global_attention`."""
    with without_autocast(query.device):
        q, k, v, rows, cols = widen(query, key, value, relative_rows, relative_cols)
        q = q * scale
        logits = q @ k.transpose(-2, -1)  # B, N, L, S
        if rows is not None:
            logits = _add(logits, *relative_logits(q, rows, cols, grid))
        return (logits.softmax(dim=-1) @ v).to(query.dtype)


def weights(query, key, relative_rows, relative_cols, *, queries, grid, scale) -> Tensor:
    """The softmax alone, (B, N, Q, S), for the queries asked for."""
    with without_autocast(query.device):
        q, k, rows, cols = widen(query, key, relative_rows, relative_cols)
        if queries is None:
            queries = torch.arange(q.shape[2], device=q.device)
        q = q[:, :, queries] * scale
        logits = q @ k.transpose(-2, -1)  # B, N, Q, S
        if rows is not None:
            by_row = torch.einsum("bnqd,qjd->bnqj", q, _read(rows, queries // grid[1]))
            by_col = torch.einsum("bnqd,qjd->bnqj", q, _read(cols, queries % grid[1]))
            logits = _add(logits, by_row, by_col)
        return logits.softmax(dim=-1)


def relative_logits(q: Tensor, rows: Tensor, cols: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """q . r of all queries, (B, N, L, H) for the row of the key and (B, N, L, W) for its column."""
    height, width = grid
    by_place = q.unflatten(2, (height, width))  # B, N, H, W, D
    by_row = torch.einsum("bnhwd,hjd->bnhwj", by_place, _read(rows, torch.arange(height, device=q.device)))
    by_col = torch.einsum("bnhwd,wjd->bnhwj", by_place, _read(cols, torch.arange(width, device=q.device)))
    return by_row.flatten(2, 3), by_col.flatten(2, 3)


def _read(table: Tensor, positions: Tensor) -> Tensor:
    """Embeddings (P, size, D) of the offsets from positions (P,) to every position of the axis; table (2*size - 1, D)."""
    size = (table.shape[0] + 1) // 2
    offsets = torch.arange(size, device=table.device) - positions[:, None]  # P, size
    return table[offsets + size - 1]


def _add(logits: Tensor, by_row: Tensor, by_col: Tensor) -> Tensor:
    """logits (B, N, L, H*W) plus the term of the key's row (B, N, L, H) and that of its column (B, N, L, W)."""
    relative = by_row.unsqueeze(-1) + by_col.unsqueeze(-2)  # B, N, L, H, W
    return logits + relative.flatten(-2)
