"""The definition in plain PyTorch, one term per tap of the window: any device, any float dtype, autograd, exportable.

Legend: B batch, G groups, m channels a group, C channels, at most G*m, H W input, h w output rows and columns,
K window side, Q queries.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops import window
from sightline.ops.precision import widen, without_autocast


def _squared_difference(query: Tensor, key: Tensor) -> Tensor:
    return -(query - key).square()


def _absolute_difference(query: Tensor, key: Tensor) -> Tensor:
    return -(query - key).abs()


SIMILARITIES = {
    "multiply": torch.mul,
    "squared_difference": _squared_difference,
    "absolute_difference": _absolute_difference,
}


def objection(*operands: Any, **options: Any) -> str | None:
    """The reference runs everything."""
    return None


def run(query, key, value, geometry, *, kernel_size, similarity, stride, dilation, border, order, share) -> Tensor:
    """See `sightline.ops.local_relation`."""
    with without_autocast(query.device):
        q, k, v, prior = widen(query, key, filled(value, key.shape[1], share), geometry)
        shape = (kernel_size, stride, dilation, border)
        compare = SIMILARITIES[similarity]
        logits = torch.stack([compare(q, tap) for tap in window.shifted(k, *shape)], dim=2)  # B, G, K*K, h, w
        if prior is not None:
            logits = logits + prior.flatten(1)[:, :, None, None]
        if border == "exclude":
            seen = window.inside(k.shape[2], k.shape[3], kernel_size, stride, dilation, k.device)
            logits = logits.masked_fill(~seen, float("-inf"))
        relation = logits.softmax(dim=2).unbind(2)  # K*K of (B, G, h, w)
        # the m channels of a group lie side by side, or G apart
        split, shared = ((k.shape[1], -1), 2) if order == "contiguous" else ((-1, k.shape[1]), 1)
        y = torch.zeros((), dtype=v.dtype, device=v.device)
        for weight, tap in zip(relation, window.shifted(v, *shape), strict=True):
            y = y + weight.unsqueeze(shared) * tap.unflatten(1, split)  # B, G, m, h, w or B, m, G, h, w
        return y.flatten(1, 2)[:, : value.shape[1]].to(query.dtype)


def filled(value: Tensor, groups: int, share: int | None) -> Tensor:
    """The value with channels of zeros behind its own, so that every group has `share`."""
    return value if share is None else F.pad(value, (0, 0, 0, 0, 0, groups * share - value.shape[1]))


def weights(query, key, geometry, *, queries, kernel_size, similarity, stride, dilation, border) -> Tensor:
    """The softmax alone, (B, G, Q, K*K), by gathering the keys of the queries asked for."""
    with without_autocast(query.device):
        q, k, prior = widen(query, key, geometry)
        height, width = k.shape[2:]
        if queries is None:
            queries = torch.arange(q.shape[2] * q.shape[3], device=q.device)
        target = window.targets(height, width, kernel_size, stride, dilation, border, queries)  # Q, K*K
        taken = window.gather(k, target)  # B, G, Q, K*K
        logits = SIMILARITIES[similarity](q.flatten(2)[:, :, queries].unsqueeze(-1), taken)
        if prior is not None:
            logits = logits + prior.flatten(1)[:, None, :]
        if border == "exclude":
            logits = logits.masked_fill(target < 0, float("-inf"))
        return logits.softmax(dim=-1)
