"""RandAugment on a batch: every sample draws its own operations, and samples that drew the same are changed together.

Source: Cubuk et al. 2019, "RandAugment", arXiv 1909.13719, section 3: N of 14 operations in a row, one magnitude M for all.
Ours:   M runs from 0 (nothing) to 10 (the full range), as in the papers' and DeiT's tables ("9"); ranges of AutoAugment:
        rotation 30 degrees, shear 0.3, translation 0.45 of the side, colour, contrast, brightness and sharpness 1 +- 0.9,
        posterising from 8 bits to 4, solarising from level 256 to 0. The sign is drawn per sample.
Ours:   a magnitude with a spread (timm's "mstd", 0.5 in DeiT) is drawn from a normal distribution, cut to 0 .. 10, once for all
        samples of a batch that drew the same operation and sign; DeiT's code draws it for every sample.
Ours:   translations are whole pixels, which keeps tiny images sharp; what moves in from outside is black.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from sightline.data import draw
from sightline.data.augment import STRONGEST


def rand_augment(
    images: Tensor, ops: int, magnitude: int, generator: torch.Generator, magnitude_std: float = 0.0
) -> Tensor:
    """Apply `ops` random operations to every sample of uint8 (B, 3, H, W), of this magnitude (0 .. 10), give or take a spread."""
    for _ in range(ops):
        # Drawn and grouped on the CPU: which operations to launch is decided there.
        choice = draw.integers((len(images),), len(OPERATIONS), generator, torch.empty(0))
        sign = 2 * draw.integers((len(images),), 2, generator, torch.empty(0)) - 1
        images = _apply(images, choice, sign, _strengths(magnitude, magnitude_std, generator))
    return images


def _strengths(magnitude: int, std: float, generator: torch.Generator) -> list[list[float]]:
    """Strength 0 .. 1 of each operation, for either sign."""
    levels = torch.full((len(OPERATIONS), 2), float(magnitude), dtype=torch.float64)
    if std > 0:
        levels += std * torch.randn(levels.shape, generator=generator, device=generator.device).cpu()
    return (levels.clamp(0, STRONGEST) / STRONGEST).tolist()


def _apply(images: Tensor, choice: Tensor, sign: Tensor, strengths: list[list[float]]) -> Tensor:
    changed = images.clone()
    for number, operation in enumerate(OPERATIONS.values()):
        for side in (-1, 1):
            members = ((choice == number) & (sign == side)).nonzero().flatten().to(images.device)
            if len(members):
                changed[members] = operation(images[members], side * strengths[number][side > 0])
    return changed


def _affine(images: Tensor, angle: float = 0.0, rows: float = 0.0, cols: float = 0.0, shear=(0.0, 0.0)) -> Tensor:
    return F.affine(
        images,
        angle=angle,
        translate=[cols, rows],
        scale=1.0,
        shear=[math.degrees(math.atan(share)) for share in shear],
        interpolation=InterpolationMode.BILINEAR,
        fill=[0.0],
    )


def _solarize(images: Tensor, strength: float) -> Tensor:
    return torch.where(images >= 256 * (1 - abs(strength)), 255 - images, images)


OPERATIONS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda images, s: images,
    "auto_contrast": lambda images, s: F.autocontrast(images),
    "equalize": lambda images, s: F.equalize(images),
    "rotate": lambda images, s: _affine(images, angle=30 * s),
    "solarize": _solarize,
    "colour": lambda images, s: F.adjust_saturation(images, 1 + 0.9 * s),
    "posterize": lambda images, s: F.posterize(images, 8 - round(4 * abs(s))),
    "contrast": lambda images, s: F.adjust_contrast(images, 1 + 0.9 * s),
    "brightness": lambda images, s: F.adjust_brightness(images, 1 + 0.9 * s),
    "sharpness": lambda images, s: F.adjust_sharpness(images, 1 + 0.9 * s),
    "shear_rows": lambda images, s: _affine(images, shear=(0.0, 0.3 * s)),
    "shear_cols": lambda images, s: _affine(images, shear=(0.3 * s, 0.0)),
    "translate_rows": lambda images, s: _affine(images, rows=round(0.45 * s * images.shape[2])),
    "translate_cols": lambda images, s: _affine(images, cols=round(0.45 * s * images.shape[3])),
}
"""The 14 operations by name: each takes uint8 (B, 3, H, W) and a strength from -1 to 1, of which some use only the size."""
