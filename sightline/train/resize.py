"""Progressive resizing: the first epochs see smaller images, which cost less, and the side grows to the full one.

    side(e) = small + (full - small) e / E, rounded down to a multiple of 8,   e epoch from 0, E epochs until full size

Source: Tan and Le 2021, "EfficientNetV2", arXiv 2104.00298, section 4 (image size grows with the epochs).
Ours:   eight pixels a step, so that three halvings stay even; augmentation is not made stronger as images grow; never below
        `small`. Validation and test images keep their full size.
Legend: B batch, H W rows and columns.
"""

import torch.nn.functional as F
from torch import Tensor

from sightline.recipes import Recipe

STEP = 8


def side(recipe: Recipe, epoch: int, full: int) -> int:
    """Shorter side of the training images of an epoch, in pixels, when the images have a shorter side `full`."""
    small = recipe.small_size
    if small is None or small >= full or epoch >= recipe.small_epochs:
        return full
    grown = small + (full - small) * epoch // recipe.small_epochs
    return max(small, grown // STEP * STEP)


def resize(images: Tensor, side: int) -> Tensor:
    """Float images (B, 3, H, W) with their shorter side shrunk to `side`, bilinear and antialiased; the same when it is that."""
    full = min(images.shape[2:])
    if side == full:
        return images
    rows, cols = (max(1, round(size * side / full)) for size in images.shape[2:])
    return F.interpolate(images, (rows, cols), mode="bilinear", antialias=True)
