"""The definition in plain PyTorch, one term per tap of the window: any device, any float dtype, autograd, exportable.

Legend: B batch, C channels, G weight groups, H W input, h w output rows and columns, K window side, Q queries.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sightline.ops import window
from sightline.ops.precision import widen, without_autocast


def objection(*operands: Any, **options: Any) -> str | None:
    """The reference runs everything."""
    return None


def run(logits, value, *, kernel_size, normalise, stride, dilation, border) -> Tensor:
    """See `sightline.ops.vector_attention`."""
    with without_autocast(value.device):
        a, v = widen(logits, value)
        if border == "exclude":
            seen = window.inside(v.shape[2], v.shape[3], kernel_size, stride, dilation, v.device)
            a = a.masked_fill(~seen, float("-inf"))
        taps = window.shifted(v, kernel_size, stride, dilation, border)
        return aggregate(a, v, normalise, taps).to(value.dtype)


def aggregate(logits: Tensor, value: Tensor, normalise: str, taps: Iterator[Tensor]) -> Tensor:
    """Sum the taps of value, views (B, C, h, w), by the weights of logits."""
    a = logits.softmax(dim=2) if normalise == "softmax" else logits
    y = torch.zeros((), dtype=value.dtype, device=value.device)
    for weight, tap in zip(a.unbind(2), taps, strict=True):
        y = torch.addcmul(
            y, weight.unsqueeze(1), tap.unflatten(1, (-1, a.shape[1]))
        )  # B, C/G, G, h, w: group = c mod G
    return y.flatten(1, 2)


def weights(logits, value, *, queries, kernel_size, normalise, stride, dilation, border) -> Tensor:
    """The weights alone, (B, G, Q, K*K)."""
    with without_autocast(logits.device):
        (a,) = widen(logits)
        a = a.flatten(3).transpose(2, 3)  # B, G, h*w, K*K
        if queries is not None:
            a = a[:, :, queries]  # B, G, Q, K*K
        if border == "exclude":
            asked = torch.arange(a.shape[2], device=a.device) if queries is None else queries
            target = window.targets(value.shape[2], value.shape[3], kernel_size, stride, dilation, border, asked)
            a = a.masked_fill(target < 0, float("-inf"))
        return a.softmax(dim=-1) if normalise == "softmax" else a
