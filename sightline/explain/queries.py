"""Where every position of a layer looks, all at once: what a page needs to follow the pointer without asking again.

Legend: B pictures, G heads or channel groups, hq wq grid of queries, hk wk grid of keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.explain.compose import push, spread
from sightline.explain.geometry import Geometry
from sightline.explain.record import Call, recorded

MOST_QUERIES = 32  # a side; more are thinned out evenly
MOST_KEYS = 32  # a side; more are summed in blocks


@dataclass(frozen=True)
class QueryMaps:
    """Where every position of one layer looks.

    Args:
        layer: the layer's name.
        op: the op's name.
        passes: calls of the layer composed into these maps (recurrent criss-cross attention: 2).
        groups: heads or channel groups the layer has.
        heads: those in `weights`, in its order; (None,) for their mean.
        signed: whether any weight is negative.
        weights: (B, heads, hq, wq, hk, wk) float32.
        tokens: the rows of the prefix tokens as queries, by name, each (B, heads, hk, wk).
        to_tokens: the columns of the prefix tokens as keys, by name, each (B, heads, hq, wq).
        queries, keys: the two grids in the image; where a layer has more positions than was asked for, the thinned ones.
    """

    layer: str
    op: str
    passes: int
    groups: int
    heads: tuple[int | None, ...]
    signed: bool
    weights: Tensor
    tokens: dict[str, Tensor]
    to_tokens: dict[str, Tensor]
    queries: Geometry
    keys: Geometry

    def at(self, row: int, col: int) -> Tensor:
        """The maps (B, heads, hk, wk) of the query that covers a pixel."""
        r, c = self.queries.cell(row, col)
        return self.weights[:, :, r, c]


@torch.no_grad()
def query_maps(
    model: nn.Module,
    images: Tensor,
    layers: str | Sequence[str] | None = None,
    *,
    heads: str | int = "mean",
    most_queries: int = MOST_QUERIES,
    most_keys: int = MOST_KEYS,
) -> list[QueryMaps]:
    """Where every position of every chosen layer looks, from one forward pass, in the order of the layers.

    Memory is bounded by the result: weights are made for some queries at a time, averaged or picked, and summed into cells.

    Args:
        model: see `capture`.
        images: normalised, (B, C, H, W).
        layers: names or glob patterns; None: all.
        heads: "mean" over heads or channel groups, "all" of them, or one by its number.
        most_queries: queries a side; a finer grid is thinned to the centres of even blocks.
        most_keys: keys a side; a finer grid is summed in blocks, so that a map keeps its sum.

    Raises:
        ValueError: see `capture`; a layer has no such head, or `heads` is none of the above.
    """
    calls = recorded(model, images, layers)
    names = dict.fromkeys(call.layer for call in calls)
    return [_layer([call for call in calls if call.layer == name], heads, most_queries, most_keys) for name in names]


def _layer(calls: list[Call], heads: str | int, most_queries: int, most_keys: int) -> QueryMaps:
    *earlier, last = calls
    where, asked = _thinned(last.query_geometry, most_queries)
    keys, _ = _thinned(last.key_geometry, most_keys)
    asked = asked.to(last.output.device)
    batch, groups = last.weights(asked[:1]).shape[:2]
    chosen = _heads(last, groups, heads)
    count = last.key_geometry.prefix + last.key_geometry.rows * last.key_geometry.cols
    maps = torch.zeros(batch, len(chosen), len(asked), keys.prefix + keys.rows * keys.cols)
    factors = (keys.stride[0] // last.key_geometry.stride[0], keys.stride[1] // last.key_geometry.stride[1])
    for start, weights in last.chunks(asked, beside=2 * batch * len(chosen) * count):
        queries = asked[start : start + weights.shape[2]]
        picked = weights.float().mean(1, keepdim=True) if None in chosen else weights[:, list(chosen)].float()
        dense = spread(last, queries, picked.flatten(0, 1), count)  # B*heads, Q, keys
        if earlier:
            dense = _through(earlier, dense.unflatten(0, (batch, -1))).flatten(0, 1)
        summed = _sum_cells(dense, last.key_geometry, factors).unflatten(0, (batch, -1))
        maps[:, :, start : start + len(queries)] = summed.cpu()
    return _assembled(last, len(calls), groups, chosen, maps, where, keys)


def _thinned(where: Geometry, most: int) -> tuple[Geometry, Tensor]:
    """A grid of at most `most` cells a side, and the positions (Q,) in the middle of its cells, prefix first."""
    factors = (-(-where.rows // most), -(-where.cols // most))
    rows, cols = _centres(where.rows, factors[0]), _centres(where.cols, factors[1])
    grid = (rows[:, None] * where.cols + cols).flatten() + where.prefix
    thin = where.coarser((len(rows), len(cols)), factors)
    return thin, torch.cat([torch.arange(where.prefix), grid])


def _through(earlier: list[Call], dense: Tensor) -> Tensor:
    """Maps (B, heads, Q, keys) pushed through the layer's earlier passes, last first."""
    flat = dense.flatten(1, 2)
    for call in reversed(earlier):
        flat = push(flat, call)
    return flat.unflatten(1, dense.shape[1:3])


def _assembled(
    call: Call,
    passes: int,
    groups: int,
    heads: tuple[int | None, ...],
    maps: Tensor,
    where: Geometry,
    keys: Geometry,
) -> QueryMaps:
    from_tokens, from_grid = maps[:, :, : where.prefix], maps[:, :, where.prefix :]
    key_cells, query_cells = (keys.rows, keys.cols), (where.rows, where.cols)
    weights = from_grid[..., keys.prefix :].unflatten(3, key_cells).unflatten(2, query_cells)
    return QueryMaps(
        call.layer,
        call.attending.op,
        passes,
        groups,
        heads,
        bool((weights < 0).any()),
        weights,
        {name: from_tokens[:, :, i, keys.prefix :].unflatten(2, key_cells) for i, name in enumerate(where.tokens)},
        {name: from_grid[..., i].unflatten(2, query_cells) for i, name in enumerate(where.tokens)},
        where,
        keys,
    )


def _heads(call: Call, groups: int, heads: str | int) -> tuple[int | None, ...]:
    if heads == "mean":
        return (None,)
    if heads == "all":
        return tuple(range(groups))
    if not isinstance(heads, int):
        raise ValueError(f"heads must be 'mean', 'all' or a number; got {heads!r}")
    if not 0 <= heads < groups:
        raise ValueError(f"layer {call.layer} has heads or channel groups 0 to {groups - 1}; got {heads}")
    return (heads,)


def _centres(size: int, factor: int) -> Tensor:
    """Every factor-th of 0 .. size-1, from the middle of its block."""
    return (torch.arange(-(-size // factor)) * factor + factor // 2).clamp(max=size - 1)


def _sum_cells(dense: Tensor, keys: Geometry, factors: tuple[int, int]) -> Tensor:
    """Maps (N, Q, keys) summed in blocks of factors: (N, Q, prefix + cells)."""
    if factors == (1, 1):
        return dense
    tokens, cells = dense[..., : keys.prefix], dense[..., keys.prefix :].unflatten(2, (keys.rows, keys.cols))
    cells = _sum_blocks(_sum_blocks(cells, 2, factors[0]), 3, factors[1])
    return torch.cat([tokens, cells.flatten(2)], dim=2)


def _sum_blocks(cells: Tensor, dim: int, factor: int) -> Tensor:
    size, shape = cells.shape[dim], list(cells.shape)
    shape[dim] = -(-size // factor)
    return cells.new_zeros(shape).index_add_(dim, torch.arange(size, device=cells.device) // factor, cells)
