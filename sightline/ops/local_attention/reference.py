"""The definition in plain PyTorch, one term per tap of the window: any device, any float dtype, autograd, exportable.

Legend: B batch, N heads, D E key and value channels a head, H W input, h w output rows and columns, K window side, Q queries.
"""

from typing import Any

import torch
from torch import Tensor

from sightline.ops import window
from sightline.ops.precision import widen, without_autocast


def objection(*operands: Any, **options: Any) -> str | None:
    """The reference runs everything."""
    return None


def run(query, key, value, relative_rows, relative_cols, *, kernel_size, heads, stride, dilation, border) -> Tensor:
    """See `sightline.ops.local_attention`."""
    with without_autocast(query.device):
        q, k, v, rows, cols = widen(query, key, value, relative_rows, relative_cols)
        attention = softmax(q, k, rows, cols, kernel_size, heads, stride, dilation, border)
        y = torch.zeros((), dtype=v.dtype, device=v.device)
        taps = window.shifted(v, kernel_size, stride, dilation, border)
        for weight, tap in zip(attention.unbind(2), taps, strict=True):
            y = y + weight.unsqueeze(2) * tap.unflatten(1, (heads, -1))  # B, N, E, h, w
        return y.flatten(1, 2).to(query.dtype)


def softmax(q, k, rows, cols, kernel_size, heads, stride, dilation, border) -> Tensor:
    """Attention (B, N, K*K, h, w) of operands that are wide already."""
    q = q.unflatten(1, (heads, -1))  # B, N, D, h, w
    taps = window.shifted(k, kernel_size, stride, dilation, border)
    logits = torch.stack([(q * tap.unflatten(1, (heads, -1))).sum(2) for tap in taps], dim=2)  # B, N, K*K, h, w
    if rows is not None:
        logits = logits + _relative(q, rows, cols)
    if border == "exclude":
        seen = window.inside(k.shape[2], k.shape[3], kernel_size, stride, dilation, k.device)
        logits = logits.masked_fill(~seen, float("-inf"))
    return logits.softmax(dim=2)


def _relative(q: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """q . r for every tap (B, N, K*K, h, w), from its row half and its column half."""
    part = rows.shape[1]
    by_row = torch.einsum("bndhw,ndk->bnkhw", q[:, :, :part], rows.expand(q.shape[1], -1, -1))
    by_col = torch.einsum("bndhw,ndk->bnkhw", q[:, :, part:], cols.expand(q.shape[1], -1, -1))
    return (by_row.unsqueeze(3) + by_col.unsqueeze(2)).flatten(2, 3)


def weights(
    query, key, relative_rows, relative_cols, *, queries, kernel_size, heads, stride, dilation, border
) -> Tensor:
    """The softmax alone, (B, N, Q, K*K), by gathering the keys of the queries asked for."""
    with without_autocast(query.device):
        q, k, rows, cols = widen(query, key, relative_rows, relative_cols)
        height, width = k.shape[2:]
        if queries is None:
            queries = torch.arange(q.shape[2] * q.shape[3], device=q.device)
        target = window.targets(height, width, kernel_size, stride, dilation, border, queries)  # Q, K*K
        q = q.flatten(2)[:, :, queries].unflatten(1, (heads, -1))  # B, N, D, Q
        taken = window.gather(k, target).unflatten(1, (heads, -1))  # B, N, D, Q, K*K
        logits = (q.unsqueeze(-1) * taken).sum(2)  # B, N, Q, K*K
        if rows is not None:
            logits = logits + _relative(q.unsqueeze(-1), rows, cols).squeeze(-1).transpose(2, 3)
        if border == "exclude":
            logits = logits.masked_fill(target < 0, float("-inf"))
        return logits.softmax(dim=-1)
