"""Where every position of a picture looks, in one layer of one net: what the page draws from when a pointer moves.

Legend: Q queries (prefix tokens first, then the grid), G groups (first their mean, then heads or channel groups), S entries of a
query, K keys of the grid.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sightline.data import normalise
from sightline.explain import AttentionMap, Geometry, capture
from sightline.ops.support import Global
from sightline.web.layers import Layer
from sightline.web.nets import Net

MEAN = "mean"


@dataclass(frozen=True)
class Look:
    """All maps of a layer for a picture.

    Args:
        groups: names of the groups that are here: "mean", "0", "1", ...
        all_groups: those that there are.
        queries: the grid of queries in the net's input; a large one is sampled.
        keys: the grid of keys likewise.
        targets: flat keys (Q, S) int32 of the grid, -1 where an entry has none; None: entry s is key s.
        weights: (G, Q, S) float32, on keys of the grid.
        numbers: (G, Q, 4) float32: largest |weight| on the grid; entropy of |weight| in bits, tokens included; mean distance from
            the query to where it looks, in pixels of the net's input, weighted by |weight|, NaN for a token; share of |weight| on
            the prefix tokens.
        by_position: whether each query has a map of its own; methods that ask about a class have one for all.
        unit: what the weights are.
    """

    groups: tuple[str, ...]
    all_groups: tuple[str, ...]
    queries: Geometry
    keys: Geometry
    targets: np.ndarray | None
    weights: np.ndarray
    numbers: np.ndarray
    by_position: bool = True
    unit: str = "attention weight"

    @property
    def signed(self) -> bool:
        """Whether any weight is negative."""
        return bool((self.weights < 0).any())

    def group(self, name: str) -> "Look":
        """The same for one group. Raises KeyError when there is none of that name."""
        if name not in self.groups:
            raise KeyError(name)
        which = slice(self.groups.index(name), self.groups.index(name) + 1)
        return replace(self, groups=(name,), weights=self.weights[which], numbers=self.numbers[which])


def look(net: Net, image: Tensor, layer: Layer, most_cells: int) -> Look:
    """Attention of every query of a layer for what a net sees of a picture, uint8 (3, H, W).

    Args:
        most_cells: entries that one group's maps may have; queries are sampled until they fit.
    """
    with net.lock, torch.no_grad():
        with capture(net.model, layers=[layer.name]) as maps:
            net.model(seen(net, image))
        composed = maps.composed(layer.name) if layer.passed is None and layer.passes > 1 else None
    one = maps[layer.name][layer.passed if layer.passed is not None else -1]
    weights = one.weights[0].float() if composed is None else composed.flatten(2)  # G, Q, S
    targets = _targets(one) if composed is None else None
    queries, chosen = sampled(one.query_geometry, max(most_cells // weights.shape[-1], 1))
    weights = weights[:, chosen]
    if len(weights) > 1:
        weights = torch.cat([weights.mean(0, keepdim=True), weights])
    keys = one.key_geometry if composed is None else replace(one.key_geometry, tokens=())
    groups = (MEAN, *map(str, range(len(weights) - 1)))
    return measured(weights, None if targets is None else targets[chosen], queries, keys, groups)


def predict(net: Net, image: Tensor) -> list[tuple[str, float]]:
    """Every class with its probability, the most probable first."""
    with net.lock, torch.no_grad():
        logits = net.model(seen(net, image))[0].float()
    share, order = logits.softmax(0).sort(descending=True)
    return [(net.meta.classes[index], value) for index, value in zip(order.tolist(), share.tolist(), strict=True)]


def seen(net: Net, image: Tensor) -> Tensor:
    """A picture (3, H, W) uint8 as the net's input (1, 3, H, W)."""
    return normalise(image[None], net.meta.mean, net.meta.std)


def sampled(grid: Geometry, most: int) -> tuple[Geometry, Tensor]:
    """A grid of no more than `most` cells, and the flat queries in the middle of its cells, tokens first."""
    step = 1
    while -(-grid.rows // step) * -(-grid.cols // step) > most:
        step += 1
    rows, cols = (
        ((torch.arange(-(-side // step)) * step) + step // 2).clamp(max=side - 1) for side in (grid.rows, grid.cols)
    )
    flat = (rows[:, None] * grid.cols + cols).flatten() + grid.prefix
    return grid.coarser((len(rows), len(cols)), (step, step)), torch.cat([torch.arange(grid.prefix), flat])


def _targets(one: AttentionMap) -> Tensor | None:
    """Flat keys (Q, S), None where entry s is key s. Supports other than all keys have no tokens."""
    if isinstance(one.support, Global):
        return None
    return one.support.targets(one.height, one.width, one.queries)


def measured(
    weights: Tensor, targets: Tensor | None, queries: Geometry, keys: Geometry, groups: tuple[str, ...]
) -> Look:
    """Part the entries on tokens from those on the grid, and measure.

    Args:
        weights: (G, Q, S), tokens first among queries and, where `targets` is None, among entries.
        targets: see `Look`.
        queries, keys: the grids.
        groups: names of the groups.
    """
    if targets is not None:
        weights, targets = _merged(weights.masked_fill(targets < 0, 0), targets)
    sizes = weights.abs()
    share = sizes / sizes.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    entropy = -torch.xlogy(share, share).sum(-1) / np.log(2)
    tokens = keys.prefix if targets is None else 0
    on_tokens, share, weights = share[..., :tokens].sum(-1), share[..., tokens:], weights[..., tokens:]
    flat = torch.arange(weights.shape[-1]).expand(weights.shape[1], -1) if targets is None else targets
    distance = (share * _distances(queries, flat, keys)).sum(-1) / share.sum(-1).clamp(min=1e-30)
    distance[:, : queries.prefix] = torch.nan
    numbers = torch.stack([weights.abs().amax(-1), entropy, distance, on_tokens], dim=-1)
    flat_targets = None if targets is None else targets.to(torch.int32).numpy()
    return Look(groups, groups, queries, keys, flat_targets, weights.numpy(), numbers.numpy())


def _merged(weights: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Entries of a query that point at the same key (a reflected border) become one, the first of them."""
    parts = []
    for weight, target in zip(weights.split(1024, 1), targets.split(1024), strict=True):  # S x S comparisons a query
        first = (target[:, :, None] == target[:, None, :]).int().argmax(-1)  # Q, S
        again = first != torch.arange(target.shape[1])
        merged = torch.zeros_like(weight).scatter_add_(-1, first.expand_as(weight), weight)
        parts.append((merged, target.masked_fill(again, -1)))
    return torch.cat([one for one, _ in parts], dim=1), torch.cat([one for _, one in parts])


def _distances(queries: Geometry, flat: Tensor, keys: Geometry) -> Tensor:
    """Pixels (Q, S) of the net's input between the middles of queries and flat keys (Q, S); 0 for tokens."""
    own = torch.arange(queries.rows * queries.cols)
    from_rows, from_cols = _middles(own[:, None], queries)
    rows, cols = _middles(flat[queries.prefix :], keys)
    far = torch.hypot(rows - from_rows, cols - from_cols)
    return torch.cat([far.new_zeros(queries.prefix, far.shape[1]), far])


def _middles(flat: Tensor, grid: Geometry) -> tuple[Tensor, Tensor]:
    return (flat // grid.cols + 0.5) * grid.stride[0], (flat % grid.cols + 0.5) * grid.stride[1]
