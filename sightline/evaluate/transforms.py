"""Turned and mirrored pictures, which a net trained on upright ones has never seen.

Source: SAN, arXiv 2004.13621, section 5.4 and table 9: 90, 180, 270 degrees and upside-down. Ours: mirrored left to right too,
which most trainings have shown to the net.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "rotated 90": partial(torch.rot90, k=1, dims=(-2, -1)),
    "rotated 180": partial(torch.rot90, k=2, dims=(-2, -1)),
    "rotated 270": partial(torch.rot90, k=3, dims=(-2, -1)),
    "upside-down": partial(torch.flip, dims=(-2,)),
    "mirrored": partial(torch.flip, dims=(-1,)),
}
"""By name, images (B, C, H, W) to images; a turn of 90 or 270 degrees is counter-clockwise and swaps H and W."""
