"""Random crops of a batch, a box of its own for every sample.

Legend: B batch, C channels, H W rows and columns, p padding.
Ours: padding is black, as the background of digits is; `random_resized_crop` shortens a box that does not fit instead of drawing
      again, and samples without antialiasing, for a crop is only ever enlarged.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.data import draw

RATIO = (3 / 4, 4 / 3)


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Pad (B, C, H, W) by p black pixels on each side and cut H x W out, at one of (2p + 1)^2 places per sample."""
    batch, channels, height, width = images.shape
    padded = F.pad(images, (padding, padding, padding, padding))
    top = draw.integers((batch,), 2 * padding + 1, generator, images)
    left = draw.integers((batch,), 2 * padding + 1, generator, images)
    rows = top[:, None] + torch.arange(height, device=images.device)  # B, H
    cols = left[:, None] + torch.arange(width, device=images.device)  # B, W
    sample = torch.arange(batch, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[:, None, None]
    return padded[sample, channel, rows[:, None, :, None], cols[:, None, None, :]]  # B, C, H, W


def random_resized_crop(
    images: Tensor,
    scale: tuple[float, float],
    generator: torch.Generator,
    ratio: tuple[float, float] = RATIO,
) -> Tensor:
    """Cut a box out of every sample of uint8 (B, C, H, W) and enlarge it to H x W, bilinear.

    Args:
        images: the batch.
        scale: least and largest share of the area, uniform.
        generator: source of all draws.
        ratio: least and largest width / height of the box in pixels, log-uniform.

    Source: Szegedy et al. 2014, "Going Deeper with Convolutions", arXiv 1409.4842, section 6.
    """
    batch, _, height, width = images.shape
    area = draw.uniform((batch,), *scale, generator, images) * height * width
    aspect = draw.uniform((batch,), math.log(ratio[0]), math.log(ratio[1]), generator, images).exp()
    tall = (area / aspect).sqrt().clamp(max=height) / height  # shares of the sides
    wide = (area * aspect).sqrt().clamp(max=width) / width
    # In grid_sample's coordinates the image reaches from -1 to 1, so a box of share s may be centred within 1 - s of 0.
    row = draw.uniform((batch,), -1.0, 1.0, generator, images) * (1 - tall)
    col = draw.uniform((batch,), -1.0, 1.0, generator, images) * (1 - wide)
    zero = torch.zeros_like(row)
    theta = torch.stack([wide, zero, col, zero, tall, row], dim=1).unflatten(1, (2, 3))  # B, 2, 3
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    taken = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return taken.round().to(images.dtype)
