"""Torch's fused attention: the same sums in blocks, the (L, S) weights never in memory, relative terms included.

The relative logits become features: q . r of every row and every column of the grid, appended to q, meets in k a one there
where the key lies and zeros elsewhere. So (q, by_row, by_col) . (k, row(j) one-hot, column(j) one-hot) is the whole logit.
Legend: B batch, N heads, L queries, S keys, D E key and value channels a head, H W rows and columns of the grid.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops.dispatch import known
from sightline.ops.global_attention.reference import relative_logits
from sightline.ops.native.operator import forward_mode
from sightline.ops.precision import widen, without_autocast

FEWEST_RELATIVE_PAIRS = 180 * 180  # measured on CPUs: below, H + W more channels cost more than the dense map


def objection(query, key, value, relative_rows, relative_cols, **options: Any) -> str | None:
    """It takes no mixed dtypes, has no forward-mode derivative, and with relative terms is slower than a small dense map."""
    if forward_mode():
        return "forward-mode derivatives need the reference"
    if not query.dtype == key.dtype == value.dtype:
        return f"query, key and value must have one dtype; got {query.dtype}, {key.dtype}, {value.dtype}"
    pairs = query.shape[2] * key.shape[2]
    if relative_rows is not None and query.device.type == "cpu" and known(pairs) and pairs < FEWEST_RELATIVE_PAIRS:
        return (
            f"on a CPU a dense map of {pairs} pairs with relative terms is quicker; "
            f"it is for {FEWEST_RELATIVE_PAIRS} and more"
        )
    return None


def run(query, key, value, relative_rows, relative_cols, *, grid, scale) -> Tensor:
    """See `sightline.ops.global_attention`. Torch's kernels keep the softmax and the sums in float32 or wider themselves."""
    with without_autocast(query.device):
        q, k, v = query, key, value
        if relative_rows is not None:
            q, k = _with_places(q, k, relative_rows, relative_cols, grid)
        if q.shape[3] != v.shape[3]:  # the fused kernels want one depth; zeros change no product
            q, k, v = _one_depth(q, k, v)
        q, k, v = (one if one.stride(3) == 1 else one.contiguous() for one in (q, k, v))  # and channels side by side
        return F.scaled_dot_product_attention(q, k, v, scale=scale)[..., : value.shape[3]]


def _one_depth(*tokens: Tensor) -> list[Tensor]:
    """The tokens filled up with zeros to the largest depth, and to a multiple of 8 where kernels load vectors of 8."""
    depth = max(one.shape[3] for one in tokens)
    depth += 0 if tokens[0].device.type == "cpu" else -depth % 8
    return [F.pad(one, (0, depth - one.shape[3])) for one in tokens]


def _with_places(
    query: Tensor, key: Tensor, rows: Tensor, cols: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Queries and keys (B, N, L, D + H + W) whose product is content plus relative terms."""
    wide, rows, cols = widen(query, rows, cols)
    by_row, by_col = relative_logits(wide, rows, cols, grid)
    height, width = grid
    row = torch.eye(height, dtype=key.dtype, device=key.device).repeat_interleave(width, dim=0)  # H*W, H
    col = torch.eye(width, dtype=key.dtype, device=key.device).repeat(height, 1)  # H*W, W
    place = torch.cat([row, col], dim=1).expand(*key.shape[:2], -1, -1)
    q = torch.cat([query, by_row.to(query.dtype), by_col.to(query.dtype)], dim=3)
    return q, torch.cat([key, place], dim=3)
