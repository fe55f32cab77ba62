"""Pictures damaged in eight ways at five severities, by torchvision's transforms (and Pillow's JPEG).

Source of the idea: Hendrycks and Dietterich 2019, arXiv 1903.12261. Ours: the set and its strengths, which are torchvision's
operations with parameters chosen to reach from mild to hard; blur and pixelation go by the image's short side, so that 32 and 224
pixels suffer alike. These are not the files of ImageNet-C or CIFAR-10-C, and the figures can not be compared with theirs.
Deterministic: noise follows from the seed and the image's number, whatever the batch.
Legend: B images, C channels, H W rows and columns; s severity 1..5.
"""

import math
from collections.abc import Callable
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from sightline.data import generator_for

SEVERITIES = (1, 2, 3, 4, 5)
Damage = Callable[[Tensor, float, list[torch.Generator]], Tensor]
"""uint8 (B, C, H, W), strength, one generator an image -> uint8 (B, C, H, W)."""


def corrupt(images: Tensor, name: str, severity: int, numbers: Tensor, seed: int = 0) -> Tensor:
    """Damage images.

    Args:
        images: uint8 (B, 3, H, W), on the CPU.
        name: one of `CORRUPTIONS`.
        severity: 1, mild, to 5, hard.
        numbers: (B,) the number of each image in its set: what its noise follows from, with the seed.
        seed: of the noise.

    Raises:
        ValueError: no such corruption or severity.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"no corruption is called {name!r}; there are {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity is 1 to {SEVERITIES[-1]}; got {severity}")
    damage, strengths = CORRUPTIONS[name]
    generators = [generator_for(seed, "corruption", name, severity, number) for number in numbers.tolist()]
    return damage(images, strengths[severity - 1], generators)


def _noise(images: Tensor, sigma: float, generators: list[torch.Generator]) -> Tensor:
    """Normal noise of that deviation, pixels in 0..1."""
    drawn = torch.stack([torch.randn(images.shape[1:], generator=one) for one in generators])
    return _bytes(images.float() + 255 * sigma * drawn)


def _blur(images: Tensor, share: float, _: list[torch.Generator]) -> Tensor:
    """A Gaussian whose deviation is that share of the short side."""
    short = min(images.shape[-2:])
    sigma = share * short
    radius = min(math.ceil(3 * sigma), short - 1)  # torchvision reflects at the border, which reaches no farther
    return F.gaussian_blur(images, [2 * radius + 1] * 2, [sigma] * 2) if radius else images


def _brightness(images: Tensor, factor: float, _: list[torch.Generator]) -> Tensor:
    return F.adjust_brightness(images, factor)


def _contrast(images: Tensor, factor: float, _: list[torch.Generator]) -> Tensor:
    return F.adjust_contrast(images, factor)


def _saturation(images: Tensor, factor: float, _: list[torch.Generator]) -> Tensor:
    return F.adjust_saturation(images, factor)


def _jpeg(images: Tensor, quality: float, _: list[torch.Generator]) -> Tensor:
    return torch.stack([_through_jpeg(one, int(quality)) for one in images])


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    """uint8 (3, H, W), written and read again by Pillow: torchvision's own coder is to be removed."""
    file = BytesIO()
    F.to_pil_image(image).save(file, "JPEG", quality=quality)
    return F.pil_to_tensor(Image.open(file))


def _pixelate(images: Tensor, scale: float, _: list[torch.Generator]) -> Tensor:
    """Down to that share of rows and columns, and up again in blocks."""
    height, width = images.shape[-2:]
    small = [max(1, round(scale * height)), max(1, round(scale * width))]
    down = F.resize(
        images.float(), small, F.InterpolationMode.BILINEAR, antialias=True
    )  # of bytes it fails for tiny ones
    return F.resize(_bytes(down), [height, width], F.InterpolationMode.NEAREST)


def _bytes(pixels: Tensor) -> Tensor:
    return pixels.round().clamp(0, 255).to(torch.uint8)


CORRUPTIONS: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "noise": (_noise, (0.03, 0.06, 0.09, 0.13, 0.18)),
    "blur": (_blur, (0.02, 0.03, 0.04, 0.055, 0.075)),
    "bright": (_brightness, (1.2, 1.4, 1.7, 2.0, 2.5)),
    "dark": (_brightness, (0.8, 0.6, 0.45, 0.3, 0.2)),
    "contrast": (_contrast, (0.75, 0.55, 0.4, 0.25, 0.15)),
    "saturation": (_saturation, (0.75, 0.5, 0.3, 0.15, 0.0)),
    "jpeg": (_jpeg, (60, 40, 25, 15, 8)),
    "pixelate": (_pixelate, (0.8, 0.65, 0.5, 0.4, 0.3)),
}
"""By name: the operation, and its strength at severities 1 to 5."""
