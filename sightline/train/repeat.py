"""Repeated augmentation: an epoch draws fewer images, each several times in a row, every time augmented anew.

Source: Berman et al. 2019, arXiv 1902.05509; drawn as DeiT's code does (arXiv 2012.12877, section 6): every entry of the
permutation stands `repeats` times in a row, process r of R takes positions r, r + R, ..., so that copies of an image go to
different processes, and an epoch still ends after about n draws: it sees about n / repeats images.
Ours: an epoch ends after the last whole global batch that n draws fill; DeiT's after the last 256.
Legend: n images, R processes.
"""

import torch
from torch import Tensor

from sightline.data import ImageSet, generator_for


class Reordered:
    """A set seen through a list of positions, which may repeat and leave out.

    Args:
        images: the set.
        order: positions in it, int64.
    """

    def __init__(self, images: ImageSet, order: Tensor) -> None:
        self.images, self.order = images, order
        self.classes = images.classes
        self.labels = images.labels[order]

    @property
    def names(self) -> tuple[str, ...]:
        """Where each picture comes from."""
        names = self.images.names
        return tuple(names[position] for position in self.order.tolist())

    def __len__(self) -> int:
        return len(self.order)

    def batch(self, indices: Tensor) -> Tensor:
        """The pictures at these places of the list: uint8 (B, 3, H, W)."""
        return self.images.batch(self.order[indices])


def permutation(images: int, seed: int, epoch: int) -> Tensor:
    """The order (n,) of an epoch before repetition."""
    return torch.randperm(images, generator=generator_for(seed, "order", epoch))


def repeated_order(permutation: Tensor, repeats: int, batch_size: int, processes: int = 1) -> Tensor:
    """The draws of an epoch, whole global batches, each cut into one run of equal length a process.

    Args:
        permutation: (n,).
        repeats: times an entry stands in a row.
        batch_size: the global one, a multiple of processes.
        processes: R.
    """
    steps = len(permutation) // batch_size
    draws = permutation.repeat_interleave(repeats)[: steps * batch_size]
    return draws.reshape(steps, batch_size // processes, processes).transpose(1, 2).flatten()
