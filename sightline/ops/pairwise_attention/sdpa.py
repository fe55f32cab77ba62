"""The two Gaussians by torch's fused attention, one head: the same sums in blocks, the M x N weights never in memory.

Its kernels want as many value channels as key channels: the fewer are filled up with zeros, which change no product.
Legend: B batch, D E key and value channels, M queries, N keys (both flat, row-major).
"""

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from sightline.ops.dispatch import known
from sightline.ops.native.operator import forward_mode
from sightline.ops.precision import without_autocast

FEWEST_PAIRS_PER_CHANNEL = 2048  # measured on CPUs: the wider a head, the later the blocks win over the whole map


def objection(query, key, value, concat_weight, *, similarity, **options: Any) -> str | None:
    """It is a softmax, takes no mixed dtypes, has no forward-mode derivative, and on a CPU is slower than a small dense map."""
    if similarity not in ("embedded_gaussian", "gaussian"):
        return f"it is for the two Gaussians; got {similarity!r}"
    if forward_mode():
        return "forward-mode derivatives need the reference"
    if not query.dtype == key.dtype == value.dtype:
        return f"query, key and value must have one dtype; got {query.dtype}, {key.dtype}, {value.dtype}"
    pairs = math.prod(query.shape[2:]) * math.prod(key.shape[2:])
    fewest = FEWEST_PAIRS_PER_CHANNEL * max(query.shape[1], value.shape[1])
    if query.device.type == "cpu" and known(pairs) and pairs < fewest:
        return f"on a CPU a dense map of {pairs} pairs is quicker; with these channels it is for {fewest} and more"
    return None


def run(query, key, value, concat_weight, *, similarity, scale) -> Tensor:
    """See `sightline.ops.pairwise_attention`. Torch's kernels keep the softmax and the sums in float32 or wider themselves."""
    with without_autocast(query.device):
        depth = max(query.shape[1], value.shape[1])
        q, k, v = (_tokens(one, depth) for one in (query, key, value))
        y = F.scaled_dot_product_attention(q, k, v, scale=scale)  # B, 1, M, max(D, E)
        return y[:, 0, :, : value.shape[1]].transpose(1, 2).unflatten(2, query.shape[2:])


def _tokens(x: Tensor, depth: int) -> Tensor:
    """(B, C, *grid) -> (B, 1, positions, depth): channels last and, where fewer, filled up with zeros."""
    tokens = x.flatten(2).transpose(1, 2)
    tokens = tokens.contiguous() if x.shape[1] == depth else F.pad(tokens, (0, depth - x.shape[1]))
    return tokens.unsqueeze(1)
