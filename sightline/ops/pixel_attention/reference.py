"""The definition in plain PyTorch: any device, any float dtype, autograd.

Legend: B batch, C pixel channels, N heads, E value channels a head, H W rows and columns, K side of a block, L blocks,
        S T = K*K places of a block (as query, as key).
"""

from typing import Any

import torch
from torch import Tensor

from sightline.ops.precision import widen, without_autocast
from sightline.ops.stem_attention.reference import from_blocks, mask_outside, offsets, to_blocks


def objection(*operands: Any, **options: Any) -> str | None:
    """The reference runs everything."""
    return None


def run(pixels, bilinear, rows, cols, values, *, kernel_size: int, border: str) -> Tensor:
    """See `sightline.ops.pixel_attention`."""
    with without_autocast(pixels.device):
        x, bilinear, rows, cols, values = widen(pixels, bilinear, rows, cols, values)
        height, width = x.shape[2:]
        x = to_blocks(x, kernel_size)  # B, C, L, S
        logits = torch.einsum("bcls,ncd,bdlt->bnlst", x, bilinear, x)
        by_row, by_col = offsets(kernel_size, x.device)
        logits = logits + torch.einsum("bcls,nstc->bnlst", x, rows[:, by_row])
        logits = logits + torch.einsum("bcls,nstc->bnlst", x, cols[:, by_col])
        if border == "exclude":
            logits = mask_outside(logits, height, width, kernel_size)
        value = torch.einsum("tnec,bclt->bnelt", values, x)
        y = torch.einsum("bnlst,bnelt->bnels", logits.softmax(dim=-1), value)
        return from_blocks(y.flatten(1, 2), kernel_size, height, width).to(pixels.dtype)
