"""Torch's fused attention: the same sums in blocks, the (L, S) weights never in memory; content term only.

Legend: B batch, N heads, L queries, S keys, D E key and value channels a head.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from sightline.ops.precision import without_autocast


def objection(query, key, value, relative_rows, relative_cols, **options: Any) -> str | None:
    """It has no relative terms and no mixed dtypes."""
    if relative_rows is not None:
        return "it has no relative terms; the reference has"
    if not query.dtype == key.dtype == value.dtype:
        return f"query, key and value must have one dtype; got {query.dtype}, {key.dtype}, {value.dtype}"
    return None


def run(query, key, value, relative_rows, relative_cols, *, grid, scale) -> Tensor:
    """See `sightline.ops.global_attention`. Torch's kernels keep the softmax and the sums in float32 or wider themselves."""
    with without_autocast(query.device):
        return F.scaled_dot_product_attention(query, key, value, scale=scale)
