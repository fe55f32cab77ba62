"""Decoded pictures with their labels: kept in memory when they are small together, decoded on demand when they are not.

Legend: N pictures, B of a batch, H W rows and columns.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from sightline.data.errors import UnreadableImage
from sightline.data.picture import Picture, Unreadable
from sightline.data.quiet import quiet_pillow
from sightline.data.reading import read_each, useful_threads

CHECK_SIZE = (8, 8)
_ONCE = (
    "it could be read when the set was loaded. Put it back as it was and resume the run from its last checkpoint, "
    "or train anew without it"
)
Tick = Callable[[], None]
"""Called once for every picture that has been read."""


class ImageSet(Protocol):
    """Pictures of one size with labels.

    Attributes:
        labels: (N,) int64.
        classes: class names, by label.
        names: (N,) where each picture comes from.
    """

    @property
    def labels(self) -> Tensor: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def names(self) -> Sequence[str]: ...
    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """The pictures at indices (B,): uint8 (B, 3, H, W), RGB."""
        ...


class MemorySet:
    """Pictures decoded once.

    Args:
        images: uint8 (N, 3, H, W). `images` may be moved to an accelerator; batches then lie there too.
        labels: (N,) int64.
        classes: class names, by label.
        names: where each picture comes from.

    Raises:
        ValueError: shapes, dtypes or lengths disagree.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: Sequence[str], names: Sequence[str]) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8 (N, 3, H, W); got {images.dtype} {tuple(images.shape)}")
        if not len(images) == len(labels) == len(names):
            raise ValueError(f"want as many labels and names as images; got {len(images)}, {len(labels)}, {len(names)}")
        self.images = images
        self.labels = labels.to(torch.int64)
        self.classes = tuple(classes)
        self.names = tuple(names)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor) -> Tensor:
        """The pictures at indices (B,): uint8 (B, 3, H, W), RGB."""
        return self.images[indices.to(self.images.device)]


class FileSet:
    """Pictures decoded anew for every batch, for sets that do not fit into memory.

    Args:
        pictures: where they are.
        classes: class names, by label.
        size: rows and columns of a batch.
        max_pixels: see `open_image`.
    """

    def __init__(
        self, pictures: Sequence[Picture], classes: Sequence[str], size: tuple[int, int], max_pixels: int
    ) -> None:
        self.pictures = tuple(pictures)
        self.labels = torch.tensor([picture.label for picture in pictures], dtype=torch.int64)
        self.classes = tuple(classes)
        self.names = tuple(picture.name for picture in pictures)
        self.size = size
        self.max_pixels = max_pixels
        self.threads = useful_threads(pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, indices: Tensor) -> Tensor:
        """The pictures at indices (B,): uint8 (B, 3, H, W), RGB.

        Raises:
            UnreadableImage: a file was readable when the set was made and is not any more.
        """
        images = torch.empty(len(indices), 3, *self.size, dtype=torch.uint8)
        wanted = [self.pictures[index] for index in indices.tolist()]
        with quiet_pillow():
            for place, image in enumerate(read_each(wanted, self.size, self.max_pixels, self.threads)):
                if isinstance(image, Unreadable):
                    raise UnreadableImage(image.name, f"{image.reason}; {_ONCE}")
                images[place] = image
        return images


def load_into_memory(
    pictures: Sequence[Picture], classes: Sequence[str], size: tuple[int, int], max_pixels: int, tick: Tick
) -> tuple[MemorySet, list[Unreadable]]:
    """Decode all pictures; those that can not be read are left out and returned."""
    images = torch.empty(len(pictures), 3, *size, dtype=torch.uint8)
    kept: list[Picture] = []
    left_out: list[Unreadable] = []
    for picture, image in _readable(pictures, size, max_pixels, tick, left_out):
        images[len(kept)] = image
        kept.append(picture)
    labels = torch.tensor([picture.label for picture in kept], dtype=torch.int64)
    return MemorySet(images[: len(kept)], labels, classes, [picture.name for picture in kept]), left_out


def load_on_demand(
    pictures: Sequence[Picture], classes: Sequence[str], size: tuple[int, int], max_pixels: int, tick: Tick
) -> tuple[FileSet, list[Unreadable]]:
    """Try every picture once (JPEGs at 1/8 scale, which is quick); those that can not be read are left out and returned."""
    left_out: list[Unreadable] = []
    kept = [picture for picture, _ in _readable(pictures, CHECK_SIZE, max_pixels, tick, left_out)]
    return FileSet(kept, classes, size, max_pixels), left_out


def _readable(
    pictures: Sequence[Picture], size: tuple[int, int], max_pixels: int, tick: Tick, left_out: list[Unreadable]
) -> Iterator[tuple[Picture, Tensor]]:
    """Yield the pictures that can be read; add the others to left_out."""
    with quiet_pillow():
        images = read_each(pictures, size, max_pixels, useful_threads(pictures))
        for picture, image in zip(pictures, images, strict=True):
            tick()
            if isinstance(image, Unreadable):
                left_out.append(image)
            else:
                yield picture, image
