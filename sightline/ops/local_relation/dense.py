"""Local relation as masked global attention: every pair of pixels compared, for maps hardly larger than the window.

Exact like the reference, whose many short terms are slow on such maps.
Legend: B batch, G groups, m channels a group, H W input, h w output rows and columns, K window side.
"""

import torch
from torch import Tensor

from sightline.ops import window
from sightline.ops.local_relation.reference import SIMILARITIES, filled
from sightline.ops.precision import widen, without_autocast


def objection(
    query: Tensor, key: Tensor, *_operands: object, kernel_size: int, border: str, **_options: object
) -> str | None:
    """Zero borders need keys that are not in the map; large maps would waste most of the matrix."""
    if border != "exclude":
        return f"it leaves taps outside the image out; border is {border!r}"
    return window.too_large_for_dense(key.shape[2], key.shape[3], kernel_size)


def run(query, key, value, geometry, *, kernel_size, similarity, stride, dilation, border, order, share) -> Tensor:
    """See `sightline.ops.local_relation`."""
    with without_autocast(query.device):
        q, k, v, prior = widen(query, key, filled(value, key.shape[1], share), geometry)
        groups = k.shape[1]
        row_tap, row_in = window.axis_taps(k.shape[2], kernel_size, stride, dilation, q.device)  # h, H
        col_tap, col_in = window.axis_taps(k.shape[3], kernel_size, stride, dilation, q.device)  # w, W
        logits = SIMILARITIES[similarity](q.flatten(2).unsqueeze(3), k.flatten(2).unsqueeze(2))  # B, G, h*w, H*W
        if prior is not None:
            tap = _pairs(row_tap * kernel_size, col_tap, torch.add)  # h*w, H*W
            logits = logits + prior.flatten(1)[:, tap]
        seen = _pairs(row_in, col_in, torch.logical_and)
        relation = logits.masked_fill(~seen, float("-inf")).softmax(dim=-1)
        # channels by group: B, G, m, H*W; the m channels of a group lie side by side, or G apart
        if order == "contiguous":
            split = v.flatten(2).unflatten(1, (groups, -1))
        else:
            split = v.flatten(2).unflatten(1, (-1, groups)).transpose(1, 2)
        y = split @ relation.transpose(2, 3)  # B, G, m, h*w
        y = y.flatten(1, 2) if order == "contiguous" else y.transpose(1, 2).flatten(1, 2)
        return y[:, : value.shape[1]].unflatten(2, query.shape[2:]).to(query.dtype)


def _pairs(rows: Tensor, cols: Tensor, combine) -> Tensor:
    """Combine (h, H) and (w, W) into (h*w, H*W)."""
    return combine(rows[:, None, :, None], cols[None, :, None, :]).flatten(2).flatten(0, 1)
