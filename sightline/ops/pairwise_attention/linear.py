"""The dot product in linear time: y = (s / N) v (k^T q) = (s / N) (v k^T) q, and the small E x D product in the middle goes first.

Exact: a matrix product is associative. Nothing of size M x N exists, forward or backward.
Legend: B batch, D E key and value channels, M queries, N keys (both flat, row-major).
"""

import math
from typing import Any

from torch import Tensor

from sightline.ops.dispatch import known
from sightline.ops.precision import widen, without_autocast


def objection(query, key, value, concat_weight, *, similarity, **options: Any) -> str | None:
    """A softmax or a relu stands between the two products of the others; of few positions the dense map is the smaller middle."""
    if similarity != "dot_product":
        return f"it is for 'dot_product'; got {similarity!r}"
    queries, keys = math.prod(query.shape[2:]), math.prod(key.shape[2:])
    depth, width = query.shape[1], value.shape[1]
    if known(queries) and known(keys) and multiply_adds_saved(queries, keys, depth, width) < 0:
        return f"with {queries} queries, {keys} keys and {depth} and {width} channels the dense map takes fewer multiply-adds"
    return None


def multiply_adds_saved(queries: int, keys: int, depth: int, width: int) -> int:
    """Multiply-adds of the dense evaluation that this one does not need; negative when it needs more."""
    return queries * keys * (depth + width) - depth * width * (queries + keys)


def run(query, key, value, concat_weight, *, similarity, scale) -> Tensor:
    """See `sightline.ops.pairwise_attention`."""
    with without_autocast(query.device):
        q, k, v = (one.flatten(2) for one in widen(query, key, value))
        mixed = v @ k.transpose(1, 2)  # B, E, D
        y = (mixed * (scale / k.shape[2])) @ q  # B, E, M
        return y.unflatten(2, query.shape[2:]).to(query.dtype)
