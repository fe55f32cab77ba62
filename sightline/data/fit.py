"""Bring pictures to one size: the largest centred part of the right proportions, resampled with antialiasing.

Legend: H W rows and columns. Pillow's own sizes and boxes have columns first.
Ours: bicubic, as DeiT and ViT evaluate, unless a model's own pre-processing (`View`) says otherwise. The part is cut and resampled
      in one step, so that a 1 x 10,000 picture stays cheap.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sightline.data.colour import to_rgb
from sightline.data.decode import MAX_PIXELS, image_dimensions, open_image
from sightline.data.errors import UnreadableImage
from sightline.data.picture import Picture

OWN_SIZE_LIMIT = 64
"""Pictures that share one size keep it up to this many rows and columns."""
DEFAULT_SIZE = (64, 64)
_SAMPLE = 256
_OVERSAMPLE = 4  # a JPEG decoded at reduced scale stays at least this many times larger than wanted


@dataclass(frozen=True)
class View:
    """Which part of a picture is seen, and how it is resampled.

    Args:
        crop: side of the part over the largest centred one, above 0, at most 1; 0.875 is "resize to 256, cut 224".
        squash: see the whole picture instead, proportions changed.
        interpolation: a resampling of Pillow's: "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos".
    """

    crop: float = 1.0
    squash: bool = False
    interpolation: str = "bicubic"


CENTRE = View()


def fit_image(image: Image.Image, size: tuple[int, int], view: View = CENTRE) -> Tensor:
    """The centre of a picture at size (H, W): uint8 (3, H, W), RGB. A picture of that size is returned as it is, unless cropped.

    Raises:
        ValueError: H or W is below 1, or Pillow has no such interpolation.
    """
    height, width = as_size(size)
    known = Image.Resampling.__members__
    if view.interpolation.upper() not in known:
        raise ValueError(f"interpolation must be one of {', '.join(known).lower()}; got {view.interpolation!r}")
    if image.mode != "RGB":
        image = to_rgb(image)
    if image.size != (width, height) or (view.crop < 1 and not view.squash):
        box = None if view.squash else _centre_box(image.size, height, width, view.crop)
        image = image.resize((width, height), known[view.interpolation.upper()], box=box)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()  # 3, H, W


def read_image(
    source: str | Path | bytes,
    size: tuple[int, int],
    name: str | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    view: View = CENTRE,
) -> Tensor:
    """Open and fit in one step: uint8 (3, H, W). Training and prediction both read through here. Raises UnreadableImage."""
    enough = (_OVERSAMPLE * size[0], _OVERSAMPLE * size[1])
    return fit_image(open_image(source, name, max_pixels=max_pixels, at_least=enough), size, view)


def seen_box(picture: tuple[int, int], size: tuple[int, int], view: View = CENTRE) -> tuple[float, float, float, float]:
    """The part of a picture (H, W) that is seen at a size (H, W): top, left, bottom and right, in the picture's pixels."""
    if view.squash:
        return 0.0, 0.0, float(picture[0]), float(picture[1])
    left, top, right, bottom = _centre_box(picture[::-1], *size, view.crop)
    return top, left, bottom, right


def as_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(H, W) from one whole number or two. Raises ValueError for anything else, and below 1."""
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, Integral) and side >= 1 for side in sides):
        raise ValueError(f"an image size is one or two positive whole numbers, rows and columns; got {size!r}")
    return int(sides[0]), int(sides[1])


def common_size(pictures: Sequence[Picture]) -> tuple[int, int]:
    """The size (H, W) to use when none is asked for.

    Up to 256 pictures, evenly spaced, are looked at (headers only). If all have one size of at most 64 rows and columns, that
    size; else 64 x 64.
    """
    step = max(1, -(-len(pictures) // _SAMPLE))
    sizes: Counter[tuple[int, int]] = Counter()
    for picture in pictures[::step]:
        try:
            sizes[image_dimensions(picture.source)] += 1
        except UnreadableImage:
            continue  # it is named when it is decoded
    if len(sizes) == 1 and max(size := next(iter(sizes))) <= OWN_SIZE_LIMIT:
        return size
    return DEFAULT_SIZE


def _centre_box(size: tuple[int, int], height: int, width: int, crop: float) -> tuple[float, float, float, float]:
    """`crop` of the largest centred box (left, top, right, bottom) of proportions height : width in a picture of Pillow's size."""
    cols, rows = size
    scale = crop * min(rows / height, cols / width)
    left, top = (cols - scale * width) / 2, (rows - scale * height) / 2
    # Rounding may step outside by a hair, which Pillow refuses.
    return max(left, 0.0), max(top, 0.0), min(cols - left, float(cols)), min(rows - top, float(rows))
