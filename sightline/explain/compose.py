"""Follow looks from layer to layer: mass on positions is pushed back through a layer's weights, and from one grid to another.

Mass is (B, R, positions): R starting points, each a distribution over the positions of a grid (prefix tokens first).
The weights of a layer are never all in memory: some queries are recomputed, used and forgotten.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sightline.explain.geometry import Geometry, between
from sightline.explain.record import Call
from sightline.ops.precision import without_autocast

Weigh = Callable[[Call, Tensor, Tensor], Tensor]
"""What the weights (B, G, Q, S) of some queries (Q,) of a call count for: (B, Q, S)."""


def mean_weights(_call: Call, _queries: Tensor, weights: Tensor) -> Tensor:
    """The mean over heads or channel groups."""
    return weights.float().mean(1)


def push(mass: Tensor, call: Call, weigh: Weigh = mean_weights, beside: int = 0) -> Tensor:
    """Mass on the queries of a call (B, R, queries) to its keys (B, R, keys): mass times weights.

    `beside`: numbers that `weigh` makes of an entry, so that few queries are taken at a time when these are many.
    """
    keys = call.key_geometry
    count = keys.prefix + keys.rows * keys.cols
    gathered = mass.new_zeros(*mass.shape[:2], count)
    asked = mass.abs().amax((0, 1)).nonzero()[:, 0]  # queries without mass need no weights
    for start, weights in call.chunks(asked, beside=max(2 * mass.shape[0] * count, beside * call.entries)):
        queries = asked[start : start + weights.shape[2]]
        counted = weigh(call, queries, weights)  # B, Q, S
        with without_autocast(mass.device):
            gathered += mass[:, :, queries] @ spread(call, queries, counted, count)
    return gathered


def spread(call: Call, queries: Tensor, weights: Tensor, keys: int) -> Tensor:
    """Sparse weights (B, Q, S) of queries (Q,) over all keys (B, Q, keys); entries that point at the same key add up."""
    target = call.support.targets(call.height, call.width, queries)
    flat = weights.new_zeros(*weights.shape[:2], keys)
    return flat.scatter_add_(-1, target.clamp(min=0).expand_as(weights), weights.masked_fill(target < 0, 0))


def to_grid(mass: Tensor, have: Geometry, want: Geometry) -> Tensor:
    """Mass on one grid (B, R, positions) on another: each cell's goes to the cells over its pixels, in equal parts."""
    if (have.rows, have.cols, have.stride) == (want.rows, want.cols, want.stride):
        return mass
    rows, cols = (one.to(mass) for one in between(have, want))
    tokens, cells = mass[..., : have.prefix], mass[..., have.prefix :].unflatten(-1, (have.rows, have.cols))
    with without_autocast(mass.device):
        moved = torch.einsum("brhw,hi,wj->brij", cells, rows, cols)
    return torch.cat([tokens, moved.flatten(2)], dim=2)
