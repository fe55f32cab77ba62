"""The order of an epoch over shards: near to random, and read nearly in sequence.

Shards are shuffled and laid end to end; the line is cut into lanes of equal length, wherever that falls within a shard; each lane
is shuffled in blocks, the buffer; a batch takes an equal run of every lane. So every picture comes once, every lane has the same
number of steps whatever the sizes of the shards, a process that takes some lanes reads their shards alone, and the order is a
function of seed and epoch: it resumes at any step.

Ours: what does not fill a last batch is left out, other pictures in every epoch.
Legend: N pictures, B of a batch, L lanes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sightline.data.seeds import generator_for

BUFFER = 8192
"""Pictures, over all lanes, within which an epoch is shuffled."""


def stream_order(
    sizes: Sequence[int], seed: int, epoch: int, batch_size: int = 1, lanes: int = 1, buffer: int = BUFFER
) -> Tensor:
    """Positions (N,) int64 in the order they come; those after the last whole batch are left over.

    Args:
        sizes: pictures of each shard; positions count them from the first to the last.
        seed, epoch: what it follows from.
        batch_size: B.
        lanes: L; they must divide B.
        buffer: pictures within which it is shuffled.

    Raises:
        ValueError: the lanes do not divide the batch.
    """
    if batch_size % lanes:
        raise ValueError(f"a batch takes an equal run of every lane; got batch_size={batch_size}, lanes={lanes}")
    line = _line(sizes, seed, epoch)
    steps, run = len(line) // batch_size, batch_size // lanes
    used = line[: steps * batch_size].reshape(lanes, steps * run)
    mixed = [_shuffle(lane, max(buffer // lanes, run), seed, epoch, number) for number, lane in enumerate(used)]
    together = torch.stack(mixed).reshape(lanes, steps, run).transpose(0, 1).flatten()
    return torch.cat((together, line[steps * batch_size :]))


def _line(sizes: Sequence[int], seed: int, epoch: int) -> Tensor:
    """All positions, shard after shard, the shards in random order."""
    shards = torch.arange(sum(sizes)).split(list(sizes))
    order = torch.randperm(len(sizes), generator=generator_for(seed, "shards", epoch))
    return torch.cat([shards[number] for number in order.tolist()])


def _shuffle(lane: Tensor, block: int, seed: int, epoch: int, number: int) -> Tensor:
    generator = generator_for(seed, "order", epoch, number)
    return torch.cat([part[torch.randperm(len(part), generator=generator)] for part in lane.split(block)])
