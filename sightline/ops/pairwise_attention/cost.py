"""Closed-form cost of pairwise attention."""

from torch import Tensor

from sightline.ops.tap import Cost


def cost(query: Tensor, key: Tensor, value: Tensor, concat_weight: Tensor | None = None, **_options: object) -> Cost:
    """Cost for operands of these shapes (see `pairwise_attention`), with M queries and N keys, of the dense evaluation.

    Multiply-adds: M*N*D for q . k and M*N*E for the values; concatenation needs (M + N)*D in place of the first.
    """
    batch, depth, width = query.shape[0], query.shape[1], value.shape[1]
    positions, keys = query.shape[2:].numel(), key.shape[2:].numel()
    pairs = batch * positions * keys
    moved = query.numel() + key.numel() + value.numel() + batch * positions * width
    if concat_weight is None:
        return Cost(pairs * (depth + width), moved * query.element_size(), pairs)
    macs = batch * (positions + keys) * depth + pairs * width
    return Cost(macs, (moved + concat_weight.numel()) * query.element_size(), pairs)
