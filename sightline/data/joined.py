"""Several sets seen as one, in their order."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from sightline.data.imageset import ImageSet


class JoinedSet:
    """The pictures of the first set, then those of the second, and so on.

    Args:
        parts: sets of one size and the same classes.

    Raises:
        ValueError: no set, or sets of different classes.
    """

    def __init__(self, parts: Sequence[ImageSet]) -> None:
        if not parts or any(one.classes != parts[0].classes for one in parts):
            raise ValueError(f"sets that are joined have the same classes; got {[one.classes for one in parts]}")
        self.parts = tuple(parts)
        self.labels = torch.cat([one.labels.cpu() for one in parts])
        self.classes = parts[0].classes
        self.names = tuple(name for one in parts for name in one.names)
        self._first = torch.tensor([0, *accumulate(map(len, parts))])

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> Tensor:
        """The pictures at indices (B,): uint8 (B, 3, H, W), RGB, on the CPU."""
        where = torch.searchsorted(self._first, indices.cpu(), right=True) - 1
        images: Tensor | None = None
        for number in where.unique().tolist():
            inside = where == number
            found = self.parts[number].batch(indices.cpu()[inside] - self._first[number]).cpu()
            if images is None:
                images = found.new_empty(len(indices), *found.shape[1:])
            images[inside] = found
        if images is None:
            raise ValueError("no picture was asked for")
        return images
