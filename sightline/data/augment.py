"""Augmentation of a whole batch at once, on whatever device it lies, from uint8 pixels to normalised floats.

Every draw comes from the generator that is handed in, so the same generator gives the same batch whatever the threads; draws are
made per sample. Order: crop, flip, RandAugment on uint8; then normalise; then erase, so that erased parts have noise of
the network's own scale.
Legend: B batch, H W rows and columns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.data import draw
from sightline.data.crop import random_crop, random_resized_crop

STRONGEST = 10
"""RandAugment magnitude at which every operation reaches its full range."""
ERASED_AREA = (0.02, 1 / 3)
ERASED_RATIO = (0.3, 1 / 0.3)
ERASERS = ("noise", "colour", "zero")


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 (B, 3, H, W) to float32: (images / 255 - mean) / std, channel by channel."""
    shift = torch.tensor(mean, device=images.device)[:, None, None]
    scale = torch.tensor(std, device=images.device)[:, None, None]
    return (images.float() / 255 - shift) / scale


def flip(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Mirror left and right, each sample of (B, C, H, W) with this probability."""
    mirrored = draw.chance(len(images), probability, generator, images)[:, None, None, None]
    return torch.where(mirrored, images.flip(-1), images)


def erase(images: Tensor, probability: float, generator: torch.Generator, mode: str = "noise") -> Tensor:
    """Fill one random box of each sample of float (B, C, H, W), with this probability.

    With normal "noise", with one normal "colour", or with "zero", the mean colour of normalised images.

    Source: Zhong et al. 2017, "Random Erasing Data Augmentation", arXiv 1708.04896, algorithm 1: 0.02 to 1/3 of the area.
    Ours:   noise per pixel unless asked otherwise, as DeiT's code (timm's "pixel"); ratios log-uniform from 0.3 to 1 / 0.3; a
            box that does not fit is shortened instead of drawn again.
    """
    batch, _, height, width = images.shape
    chosen = draw.chance(batch, probability, generator, images)
    area = draw.uniform((batch,), *ERASED_AREA, generator, images) * height * width
    aspect = draw.uniform((batch,), math.log(ERASED_RATIO[0]), math.log(ERASED_RATIO[1]), generator, images).exp()
    rows = _interval((area * aspect).sqrt(), height, generator)  # B, H
    cols = _interval((area / aspect).sqrt(), width, generator)  # B, W
    box = chosen[:, None, None, None] & rows[:, None, :, None] & cols[:, None, None, :]
    return torch.where(box, _filling(images, mode, generator), images)


def _filling(images: Tensor, mode: str, generator: torch.Generator) -> Tensor:
    if mode == "zero":
        return images.new_zeros(())
    shape = images.shape if mode == "noise" else (*images.shape[:2], 1, 1)
    return torch.randn(shape, generator=generator, device=generator.device).to(images)


def _interval(length: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Mark for each sample a run of about `length` (B,) positions, 1 to size, anywhere within 0 .. size - 1: (B, size)."""
    length = length.round().clamp(1, size)
    start = (draw.uniform((len(length),), 0.0, 1.0, generator, length) * (size - length + 1)).floor()[:, None]
    position = torch.arange(size, device=length.device)
    return (position >= start) & (position < start + length[:, None])


@dataclass(frozen=True)
class Augment:
    """What training does to a batch; the defaults only normalise.

    Args:
        mean, std: per channel, in 0 .. 1.
        crop_padding: black pixels on each side before a random crop; 0: no crop.
        resized_crop: least and largest share of the area of a random crop that is enlarged; None: no such crop.
        flip: probability of mirroring left and right. Where sides matter, as with digits, it stays 0.
        randaugment_ops: RandAugment operations in a row; 0: none.
        randaugment_magnitude: their magnitude, 0 to 10.
        randaugment_std: spread of that magnitude.
        erasing: probability of erasing a box.
        erasing_mode: what fills it: "noise", "colour" or "zero".

    Raises:
        ValueError: an argument is out of range, or both crops are asked for.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_padding: int = 0
    resized_crop: tuple[float, float] | None = None
    flip: float = 0.0
    randaugment_ops: int = 0
    randaugment_magnitude: int = 9
    erasing: float = 0.0
    randaugment_std: float = 0.0
    erasing_mode: str = "noise"

    def __post_init__(self) -> None:
        for name in ("flip", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, 0 to 1; got {getattr(self, name)}")
        if self.crop_padding < 0 or self.randaugment_ops < 0:
            raise ValueError(
                f"crop_padding and randaugment_ops can not be negative; got {self.crop_padding}, {self.randaugment_ops}"
            )
        if not 0 <= self.randaugment_magnitude <= STRONGEST:
            raise ValueError(f"randaugment_magnitude runs from 0 to {STRONGEST}; got {self.randaugment_magnitude}")
        if self.randaugment_std < 0 or self.erasing_mode not in ERASERS:
            raise ValueError(
                f"randaugment_std can not be negative, erasing_mode is one of {', '.join(ERASERS)}; "
                f"got {self.randaugment_std}, {self.erasing_mode!r}"
            )
        if self.resized_crop is not None:
            self._check_resized_crop(*self.resized_crop)

    def _check_resized_crop(self, least: float, largest: float) -> None:
        if not 0 < least <= largest <= 1:
            raise ValueError(
                f"resized_crop is a least and a largest share of the area, 0 to 1; got {self.resized_crop}"
            )
        if self.crop_padding:
            raise ValueError(f"choose one crop: crop_padding={self.crop_padding} or resized_crop={self.resized_crop}")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment uint8 (B, 3, H, W): float32 (B, 3, H, W), normalised."""
        if self.crop_padding:
            images = random_crop(images, self.crop_padding, generator)
        if self.resized_crop is not None:
            images = random_resized_crop(images, self.resized_crop, generator)
        if self.flip:
            images = flip(images, self.flip, generator)
        if self.randaugment_ops:
            from sightline.data.randaugment import rand_augment  # only here: torchvision takes seconds to import

            images = rand_augment(
                images, self.randaugment_ops, self.randaugment_magnitude, generator, self.randaugment_std
            )
        floats = normalise(images, self.mean, self.std)
        return erase(floats, self.erasing, generator, self.erasing_mode) if self.erasing else floats
