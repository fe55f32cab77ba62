"""How far every head looks, and how widely: the figure by which ViT is compared with convolutions.

    distance    mean over queries of sum over keys of w |place of key - place of query|, in pixels of the image
    entropy     mean over queries of - sum w log2 w, in bits: 0 for one key, log2(keys) for all alike

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7 (right) and appendix D.7.
Ours:   prefix tokens are left out as queries and as keys, the other weights of a query scaled to sum one; signed weights count by
        their magnitude; places are the centres of cells. A recurrent layer's passes are given one by one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.explain.geometry import Geometry
from sightline.explain.record import Call, recorded


@dataclass(frozen=True)
class LayerDistance:
    """One call of one layer: distance in pixels and entropy in bits of every head or channel group, (B, G)."""

    layer: str
    call: int
    op: str
    distance: Tensor
    entropy: Tensor


@torch.no_grad()
def attention_distance(model: nn.Module, images: Tensor, layers: str | list[str] | None = None) -> list[LayerDistance]:
    """Distance and entropy of all heads of the chosen layers (None: all), from one forward pass, in their order.

    Raises:
        ValueError: see `capture`.
    """
    return [_measured(call) for call in recorded(model, images, layers)]


def _measured(call: Call) -> LayerDistance:
    prefix, queries = call.query_geometry.prefix, call.queries[call.query_geometry.prefix :]
    sums: list[tuple[Tensor, Tensor]] = []
    for start, weights in call.chunks(queries):
        asked = queries[start : start + weights.shape[2]]
        target = call.support.targets(call.height, call.width, asked) - call.key_geometry.prefix  # Q, S
        share = weights.float().abs().masked_fill(target < 0, 0)
        share = share / share.sum(-1, keepdim=True).clamp(min=1e-30)
        far = _between(call, asked - prefix, target.clamp(min=0))
        entropy = -(share * share.clamp(min=1e-30).log2()).sum((2, 3))
        sums.append(((share * far).sum((2, 3)), entropy))
    distance, entropy = (torch.stack(one).sum(0) / len(queries) for one in zip(*sums, strict=True))
    return LayerDistance(call.layer, call.index, call.attending.op, distance.cpu(), entropy.cpu())


def _between(call: Call, queries: Tensor, keys: Tensor) -> Tensor:
    """Pixels from the queries (Q,) to their keys (Q, S), positions in the grids."""
    step = getattr(call.support, "stride", 1)  # a window of stride s is centred at every s-th cell of the input
    places = torch.stack([queries // call.query_geometry.cols, queries % call.query_geometry.cols], dim=-1) * step
    here = (places + 0.5) * torch.tensor(call.geometry.stride, device=queries.device)
    return (_centres(call.key_geometry, keys) - here[:, None]).norm(dim=-1)


def _centres(where: Geometry, flat: Tensor) -> Tensor:
    """Row and column (..., 2) of the centres of cells, in pixels."""
    places = torch.stack([flat // where.cols, flat % where.cols], dim=-1)
    return (places + 0.5) * torch.tensor(where.stride, device=flat.device)
