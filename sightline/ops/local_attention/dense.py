"""Local attention as masked global attention: two matrix products over all pixels, for maps hardly larger than the window.

Exact like the reference, whose many short terms are slow on such maps. Relative rows and columns are spread over the pixels by
the taps that read them, one axis at a time.
Legend: B batch, N heads, D E channels a head, H W input, h w output rows and columns, K window side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops import window
from sightline.ops.layout import to_channels_last
from sightline.ops.native.operator import channels_last
from sightline.ops.precision import widen, without_autocast


def objection(
    query: Tensor, key: Tensor, *_operands: object, kernel_size: int, border: str, **_options: object
) -> str | None:
    """Zero borders need keys that are not in the map; large maps would waste most of the matrix."""
    if border != "exclude":
        return f"it leaves taps outside the image out; border is {border!r}"
    return window.too_large_for_dense(key.shape[2], key.shape[3], kernel_size)


def run(query, key, value, relative_rows, relative_cols, *, kernel_size, heads, stride, dilation, border) -> Tensor:
    """See `sightline.ops.local_attention`."""
    with without_autocast(query.device):
        q, k, v, rows, cols = widen(query, key, value, relative_rows, relative_cols)
        height, width = k.shape[2:]
        row_tap, row_in = window.axis_taps(height, kernel_size, stride, dilation, q.device)  # h, H
        col_tap, col_in = window.axis_taps(width, kernel_size, stride, dilation, q.device)  # w, W
        q, k, v = (one.unflatten(1, (heads, -1)) for one in (q, k, v))
        logits = q.flatten(3).transpose(2, 3) @ k.flatten(3)  # B, N, h*w, H*W
        logits = logits.unflatten(3, (height, width)).unflatten(2, q.shape[3:])  # B, N, h, w, H, W
        if rows is not None:
            part = rows.shape[1]
            logits = logits + _spread(q[:, :, :part], rows, row_tap, "bndhw,ndk,hks->bnhws").unsqueeze(5)
            logits = logits + _spread(q[:, :, part:], cols, col_tap, "bndhw,ndk,wks->bnhws").unsqueeze(4)
        seen = row_in[:, None, :, None] & col_in[None, :, None, :]  # h, w, H, W
        attention = logits.masked_fill(~seen, float("-inf")).flatten(4).softmax(dim=-1).flatten(2, 3)
        y = v.flatten(3) @ attention.transpose(2, 3)  # B, N, E, h*w
        y = y.unflatten(3, query.shape[2:]).flatten(1, 2).to(query.dtype)
        return to_channels_last(y) if channels_last(query) else y


def _spread(q: Tensor, table: Tensor, tap: Tensor, axes: str) -> Tensor:
    """q . r of one axis for every position of that axis: (B, N, h, w, positions)."""
    one_hot = F.one_hot(tap, table.shape[2]).to(q.dtype).transpose(1, 2)  # outputs, K, positions
    heads = table.expand(q.shape[1], -1, -1)
    return torch.einsum(axes, q, heads, one_hot)
