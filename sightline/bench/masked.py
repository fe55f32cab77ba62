"""The window operators through torch's own attention: with a mask over all pairs of pixels, and by FlexAttention.

Both look at L x L pairs of L pixels where the operator looks at L x K*K; a mask of all pairs is also stored.
Legend: B batch, N heads, G groups, D channels a head, H W rows and columns, L = H*W, K window side.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.bench.case import CannotRunError

LARGEST = 2**28  # bytes of a mask above which these versions are not run


def offsets(height: int, width: int, kernel_size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of every pair of pixels the row tap and column tap, each (L, L), clamped, and whether the pair shares no window."""
    index = torch.arange(height * width, device=device)
    half = kernel_size // 2
    rows = (index // width)[None, :] - (index // width)[:, None] + half
    cols = (index % width)[None, :] - (index % width)[:, None] + half
    apart = (rows < 0) | (rows >= kernel_size) | (cols < 0) | (cols >= kernel_size)
    return rows.clamp(0, kernel_size - 1), cols.clamp(0, kernel_size - 1), apart


def tokens(x: Tensor, heads: int) -> Tensor:
    """(B, N*D, H, W) -> (B, N, L, D)."""
    return x.unflatten(1, (heads, -1)).flatten(3).transpose(2, 3)


def relative_logits(query: Tensor, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
    """q . r of every row tap and every column tap, each (B, N, L, K)."""
    depth = rows.shape[1]
    return query[..., :depth] @ rows, query[..., depth:] @ cols


def masked_local_attention(
    query: Tensor, key: Tensor, value: Tensor, rows: Tensor, cols: Tensor, *, kernel_size: int, heads: int
) -> Tensor:
    """Local attention by `scaled_dot_product_attention` with a mask (B, N, L, L) that carries the relative terms."""
    height, width = key.shape[2:]
    _affordable(query.shape[0] * heads * (height * width) ** 2 * query.element_size())
    q, k, v = (tokens(one, heads) for one in (query, key, value))
    by_row, by_col = relative_logits(q, rows, cols)
    row_tap, col_tap, apart = offsets(height, width, kernel_size, q.device)
    everywhere = (*q.shape[:3], -1)
    bias = by_row.gather(3, row_tap.expand(everywhere)) + by_col.gather(3, col_tap.expand(everywhere))
    y = F.scaled_dot_product_attention(q, k, v, bias.masked_fill(apart, float("-inf")), scale=1.0)
    return y.transpose(2, 3).flatten(1, 2).unflatten(2, (height, width))


def masked_local_relation(query: Tensor, key: Tensor, value: Tensor, geometry: Tensor, *, kernel_size: int) -> Tensor:
    """Local relation by `scaled_dot_product_attention`: groups as heads of depth one, the prior in a mask (G, L, L)."""
    (height, width), groups = key.shape[2:], key.shape[1]
    _affordable(groups * (height * width) ** 2 * query.element_size())
    row_tap, col_tap, apart = offsets(height, width, kernel_size, query.device)
    bias = geometry[:, row_tap * kernel_size + col_tap].masked_fill(apart, float("-inf"))
    q, k, v = (tokens(one, groups) for one in (query, key, value))
    y = F.scaled_dot_product_attention(q, k, v, bias, scale=1.0)
    return y.transpose(2, 3).flatten(1, 2).unflatten(2, (height, width))


def _affordable(size: int) -> None:
    if size > LARGEST:
        raise CannotRunError(f"its mask of all pairs would take {size / 2**30:.1f} GB")


@cache
def _flex(height: int, width: int, kernel_size: int, device: str) -> tuple[Callable[..., Any], Any]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    half, pixels = kernel_size // 2, height * width

    def near(_b: Tensor, _h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return ((j // width - i // width).abs() <= half) & ((j % width - i % width).abs() <= half)

    mask = create_block_mask(near, None, None, pixels, pixels, device=device)
    return torch.compile(flex_attention, dynamic=False), mask


def flex_local_attention(
    query: Tensor, key: Tensor, value: Tensor, rows: Tensor, cols: Tensor, *, kernel_size: int, heads: int
) -> Tensor:
    """Local attention by FlexAttention, compiled: the window as a block mask, the relative terms as a score modification."""
    height, width = key.shape[2:]
    flex, mask = _flex(height, width, kernel_size, str(query.device))
    half, last = kernel_size // 2, kernel_size - 1
    q, k, v = (tokens(one, heads).contiguous() for one in (query, key, value))
    by_row, by_col = relative_logits(q, rows, cols)

    def score(logit: Tensor, b: Tensor, n: Tensor, i: Tensor, j: Tensor) -> Tensor:
        row = (j // width - i // width + half).clamp(0, last)
        col = (j % width - i % width + half).clamp(0, last)
        return logit + by_row[b, n, i, row] + by_col[b, n, i, col]

    y = flex(q, k, v, score_mod=score, block_mask=mask, scale=1.0)
    return y.transpose(2, 3).flatten(1, 2).unflatten(2, (height, width))
