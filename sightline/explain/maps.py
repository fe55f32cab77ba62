"""The attention maps of a run: for the same test pictures, where every position of every layer looks. `maps/` of a run folder.

Legend: P pictures, hq wq grid of queries (at most 8 x 8), hk wk grid of keys (at most 16 x 16).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.explain.queries import QueryMaps, query_maps

MOST_QUERIES = 8  # a side; more are thinned out evenly
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


def layer_maps(model: nn.Module, images: Tensor) -> list[LayerMaps]:
    """Maps of every attention layer for normalised images (P, C, H, W), one picture at a time.

    Several calls of one layer (criss-cross attention with recurrence) are composed: the product of their maps, which is where a
    position looks after all passes.

    Raises:
        ValueError: the net has no attention.
    """
    pictures = [query_maps(model, image, most_queries=MOST_QUERIES, most_keys=MOST_KEYS) for image in images.split(1)]
    return [_merged(layers) for layers in zip(*pictures, strict=True)]


def _merged(layers: tuple[QueryMaps, ...]) -> LayerMaps:
    first = layers[0]
    weights = torch.cat([one.weights[:, 0] for one in layers])
    name = first.layer if first.passes == 1 else f"{first.layer} ({first.passes} passes)"
    return LayerMaps(name, first.op, first.groups, any(one.signed for one in layers), weights)
