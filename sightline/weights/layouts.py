"""How a tensor lies in a source and in sightline: each layout turns one into the other, both ways.

Several tensors of the source may be one of ours: q, k and v are stacked along the first axis.
Legend: O I output and input channels, H W rows and columns of a kernel, N heads, D channels a head, C = N * D.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """A pair of inverse maps.

    Args:
        inward: tensors of the source, in order, to ours.
        outward: ours, the number of tensors of the source, the heads of the net, to the source's.
        axes: axes a tensor of the source must have; None: any.
    """

    inward: Callable[[Sequence[Tensor]], Tensor]
    outward: Callable[[Tensor, int, int], Sequence[Tensor]]
    axes: int | None = None


def _stack(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


SAME = Layout(_stack, lambda ours, count, heads: [ours] if count == 1 else ours.chunk(count))
INPUT_FIRST = Layout(lambda parts: parts[0].T, lambda ours, count, heads: [ours.T], axes=2)  # (I, O) <-> (O, I)
KERNEL_FIRST = Layout(  # (H, W, I, O) <-> (O, I, H, W)
    lambda parts: parts[0].permute(3, 2, 0, 1), lambda ours, count, heads: [ours.permute(2, 3, 1, 0)], axes=4
)
HEADS_OUT = Layout(  # C, N, D <-> 3*N*D, C
    lambda parts: _stack([part.flatten(1).T for part in parts]),
    lambda ours, count, heads: [part.T.unflatten(1, (heads, -1)) for part in ours.chunk(count)],
    axes=3,
)
HEADS_BIAS = Layout(  # N, D <-> 3*N*D
    lambda parts: _stack([part.flatten() for part in parts]),
    lambda ours, count, heads: [part.unflatten(0, (heads, -1)) for part in ours.chunk(count)],
    axes=2,
)
HEADS_IN = Layout(  # N, D, C <-> C, N*D
    lambda parts: parts[0].flatten(0, 1).T, lambda ours, count, heads: [ours.T.unflatten(0, (heads, -1))], axes=3
)
FOUR_AXES = Layout(  # 1, 1, 1, C <-> C
    lambda parts: parts[0].flatten(), lambda ours, count, heads: [ours[None, None, None]], axes=4
)
POINTWISE = Layout(  # O, I, 1, 1 <-> O, I
    lambda parts: parts[0].flatten(1), lambda ours, count, heads: [ours[:, :, None, None]], axes=4
)
