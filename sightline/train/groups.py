"""Groups: the pieces in which a global batch is augmented and mixed, whatever the number of processes.

Each group has random numbers of its own, drawn from (seed, epoch, step, group), and images are mixed within it; so one process
and many see the same augmented, mixed batch. A process whose share is whole groups reads those alone; one whose share is part of a
group reads that group whole and keeps its part.

Ours: a group has at most 128 images, the share of a GPU in DeiT's recipe (1,024 images over 8; arXiv 2012.12877, section 6).
Legend: B images of the global batch, G groups, R processes.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

LARGEST = 128


def group_count(batch_size: int) -> int:
    """G: a power of two, so that it fits the numbers of processes that are usual."""
    return 1 << (-(-batch_size // LARGEST) - 1).bit_length()


@dataclass(frozen=True)
class Share:
    """What one process reads and keeps of every global batch.

    Args:
        groups: numbers of the groups it reads.
        sizes: images of each of them.
        start: place in the global batch where they begin.
        kept: places among the images it reads, (B / R,) int64; None: all of them.
    """

    groups: tuple[int, ...]
    sizes: tuple[int, ...]
    start: int
    kept: Tensor | None

    @property
    def stop(self) -> int:
        """Place in the global batch where they end."""
        return self.start + sum(self.sizes)


def cut_share(batch_size: int, rank: int, world: int) -> Share:
    """The share of process `rank` of `world`.

    Ours: where several processes share a group, they keep its images in turn, so that the copies of repeated augmentation go to
    different processes; else each keeps a run of images.
    """
    count, own = group_count(batch_size), batch_size // world
    bounds = [0, *accumulate(_sizes(batch_size, count))]
    if world % count == 0:
        together = world // count
        group, place = divmod(rank, together)
        kept = torch.arange(place, batch_size // count, together) if together > 1 else None
        return Share((group,), (batch_size // count,), bounds[group], kept)
    first, end = rank * own, (rank + 1) * own
    groups = tuple(g for g in range(count) if bounds[g] < end and bounds[g + 1] > first)
    sizes = tuple(bounds[g + 1] - bounds[g] for g in groups)
    start = bounds[groups[0]]
    kept = None if sum(sizes) == own else torch.arange(first - start, end - start)
    return Share(groups, sizes, start, kept)


def _sizes(batch_size: int, count: int) -> list[int]:
    """Images of each group: as equal as can be."""
    return [batch_size // count + (group < batch_size % count) for group in range(count)]
