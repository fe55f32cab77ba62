"""The attention maps of a run: for the same test pictures, where every position of every layer looks. `maps/` of a run folder.

Legend: P pictures, hq wq grid of queries (at most 8 x 8), hk wk grid of keys (at most 16 x 16).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.explain.capture import AttentionMap, capture
from sightline.ops import support

MOST_QUERIES = 8  # a side; more are subsampled evenly
MOST_KEYS = 16  # a side; more are summed in blocks


@dataclass(frozen=True)
class LayerMaps:
    """The maps of one layer: `weights` (P, hq, wq, hk, wk), averaged over heads or channel groups.

    Args:
        name: the layer's name; a recurrent layer's passes composed into one map say so.
        op: the op's name.
        groups: heads or channel groups averaged.
        signed: whether any weight is negative.
        weights: float32.
    """

    name: str
    op: str
    groups: int
    signed: bool
    weights: Tensor


@torch.no_grad()
def layer_maps(model: nn.Module, images: Tensor) -> list[LayerMaps]:
    """Maps of every attention layer for normalised images (P, C, H, W), one picture at a time; [] for a net without attention.

    Several calls of one layer (criss-cross attention with recurrence) are composed: the product of their dense maps, which is
    where a position looks after all passes.
    """
    pictures = [_one_picture(model, image) for image in images.split(1)]
    merged = []
    for layers in zip(*pictures, strict=True):
        first = layers[0]
        weights = torch.cat([one.weights for one in layers])
        signed = any(one.signed for one in layers)
        merged.append(LayerMaps(first.name, first.op, first.groups, signed, weights))
    return merged


def _one_picture(model: nn.Module, image: Tensor) -> list[LayerMaps]:
    model.eval()
    with capture(model) as maps:
        model(image)
    return [_layer(maps[name]) for name in maps.layers]


def _layer(calls: Sequence[AttentionMap]) -> LayerMaps:
    last = calls[-1]
    rows, cols = _spread(last.query_grid[0]), _spread(last.query_grid[1])
    chosen = (rows[:, None] * last.query_grid[1] + cols).flatten() + last.support.prefix
    weights = _dense(last, chosen)  # Q, hk, wk
    for earlier in reversed(calls[:-1]):
        through = _dense(earlier, earlier.queries[earlier.support.prefix :])  # hk*wk, hk, wk
        weights = (weights.flatten(1) @ through.flatten(1)).unflatten(1, through.shape[1:])
    name = last.layer if len(calls) == 1 else f"{last.layer} ({len(calls)} passes)"
    grid = (1, len(rows), len(cols))
    weights = _sum_blocks(_sum_blocks(weights, -2), -1).unflatten(0, grid)
    return LayerMaps(name, last.op, last.weights.shape[1], bool((last.weights < 0).any()), weights)


def _dense(one: AttentionMap, queries: Tensor) -> Tensor:
    """Group mean over the grid of keys (Q, hk, wk) of some of the captured queries (all were captured, in order)."""
    weights = one.weights[:, :, queries].float().mean(1, keepdim=True)
    return support.dense(one.support, weights, queries, one.height, one.width)[0, 0]


def _spread(size: int) -> Tensor:
    """At most MOST_QUERIES of 0 .. size-1, the centres of even blocks."""
    count = min(size, MOST_QUERIES)
    return (torch.arange(count) * 2 + 1) * size // (2 * count)


def _sum_blocks(weights: Tensor, dim: int) -> Tensor:
    size = weights.shape[dim]
    if size <= MOST_KEYS:
        return weights
    shape = list(weights.shape)
    shape[dim] = MOST_KEYS
    return weights.new_zeros(shape).index_add_(dim, torch.arange(size) * MOST_KEYS // size, weights)
