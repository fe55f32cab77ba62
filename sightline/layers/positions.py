"""Learned 1-D position embeddings carried to another grid of patches (ViT, DeiT).

    e[r, c] = interpolation of the trained grid of embeddings; embeddings of prefix tokens are copied

Source: "bilinear" with aligned corners, new r reads old r * (H-1) / (H'-1): Google's ViT loader (arXiv 2010.11929, section 3.2);
        "bicubic" at half-pixel centres, a = -0.75, no antialiasing: DeiT (arXiv 2012.12877, "Fine-tuning at higher resolution");
        "bicubic_antialias" at half-pixel centres, a = -0.5, as timm does; "bicubic_aligned" with aligned corners, as torchvision.
Ours:   rows and columns scale on their own, so non-square grids work in both directions.
Legend: T prefix tokens, H W rows and columns of the trained grid, H' W' of the new one, D channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops.precision import widen

METHODS: dict[str, tuple[str, bool, bool]] = {  # name -> torch's mode; are the corners aligned? is it antialiased?
    "bilinear": ("bilinear", True, False),
    "bicubic": ("bicubic", False, False),
    "bicubic_antialias": ("bicubic", False, True),
    "bicubic_aligned": ("bicubic", True, False),
}


def resize_positions(
    positions: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int], prefix: int = 0, method: str = "bicubic"
) -> Tensor:
    """Position embeddings (1, T + H*W, D) for a new grid: (1, T + H'*W', D).

    Args:
        positions: embeddings of the prefix tokens, then of the grid row by row.
        old_grid: (H, W).
        new_grid: (H', W').
        prefix: T.
        method: "bilinear" (Google), "bicubic" (DeiT), "bicubic_antialias" (timm) or "bicubic_aligned" (torchvision).

    Raises:
        ValueError: an unknown method, or a number of embeddings that is not T + H*W.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    if positions.shape[1] != prefix + old_grid[0] * old_grid[1]:
        raise ValueError(
            f"{prefix} prefix tokens and a {old_grid[0]} x {old_grid[1]} grid need {prefix + old_grid[0] * old_grid[1]} "
            f"position embeddings; got {positions.shape[1]}"
        )
    if new_grid == old_grid:
        return positions
    (grid,) = widen(positions[:, prefix:].unflatten(1, old_grid).permute(0, 3, 1, 2))  # 1, D, H, W
    mode, aligned, antialias = METHODS[method]
    grid = F.interpolate(grid, new_grid, mode=mode, align_corners=aligned, antialias=antialias)
    resized = grid.flatten(2).transpose(1, 2).to(positions.dtype)  # 1, H'*W', D
    return torch.cat([positions[:, :prefix], resized], dim=1)
