"""The definition in plain PyTorch, one term per tap of the window: any device, any float dtype, autograd, exportable.

Legend: B batch, C channels, G weight groups, H W input, h w output rows and columns, K window side, Q queries.
"""

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
        if normalise == "softmax":
            a = a.softmax(dim=2)
        groups = a.shape[1]
        y = torch.zeros((), dtype=v.dtype, device=v.device)
        taps = window.shifted(v, kernel_size, stride, dilation, border)
        for weight, tap in zip(a.unbind(2), taps, strict=True):
            y = torch.addcmul(
                y, weight.unsqueeze(1), tap.unflatten(1, (-1, groups))
            )  # B, C/G, G, h, w: group = c mod G
        return y.flatten(1, 2).to(value.dtype)


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
