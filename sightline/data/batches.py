"""Which pictures come when: the batches of one epoch, for one of several processes.

The order follows from seed and epoch alone. A step takes the next `batch_size` pictures of it, whatever the number of processes,
and process r of w takes the r-th of w equal parts of them: nothing is lost or repeated, and w processes see what one would.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.data.seeds import generator_for


@dataclass(frozen=True)
class EpochBatches:
    """The batches of indices of one epoch; iterate over it as often as you like.

    Args:
        size: number of pictures N.
        batch_size: pictures a step, all processes together.
        seed, epoch: what the order follows from.
        shuffle: False: in the order of the set.
        drop_last: leave out a last batch that is not full. Else it is shorter; its parts differ by at most one picture and may be
            empty, so that every process takes the same number of steps.
        rank, world: this process, and how many there are.
        order: positions (N,) in the order they come, instead of the one that follows from seed and epoch.
        rows: take these of every step's pictures instead of the rank's equal part; with drop_last alone.
        start: first step, to resume in the middle of an epoch.

    Raises:
        ValueError: world does not divide batch_size, drop_last leaves nothing, or a number is out of range.
    """

    size: int
    batch_size: int
    seed: int = 0
    epoch: int = 0
    shuffle: bool = True
    drop_last: bool = False
    rank: int = 0
    world: int = 1
    start: int = 0
    rows: slice | None = None
    order: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank must be one of 0 .. world - 1; got rank={self.rank}, world={self.world}")
        if self.batch_size < 1 or self.batch_size % self.world:
            raise ValueError(
                f"the global batch_size must be a positive multiple of the {self.world} processes; got {self.batch_size}"
            )
        if self.drop_last and self.size < self.batch_size:
            raise ValueError(
                f"dropping the last batch leaves none of {self.size} pictures; batch_size is {self.batch_size}, lower it"
            )
        if self.rows is not None and not self.drop_last:
            raise ValueError("rows are those of full batches; they need drop_last=True")
        if not 0 <= self.start <= self.steps:
            raise ValueError(f"start must be one of the epoch's steps, 0 to {self.steps}; got {self.start}")

    @property
    def steps(self) -> int:
        """Steps of the whole epoch."""
        return self.size // self.batch_size if self.drop_last else -(-self.size // self.batch_size)

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[Tensor]:
        """Yield, from step `start` on, the indices (B,) of this process."""
        order = self._order()
        for step in range(self.start, self.steps):
            together = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield together[self.rows] if self.rows is not None else together.tensor_split(self.world)[self.rank]

    def _order(self) -> Tensor:
        if self.order is not None:
            return self.order
        if not self.shuffle:
            return torch.arange(self.size)
        return torch.randperm(self.size, generator=generator_for(self.seed, "order", self.epoch))
