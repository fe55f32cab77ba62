"""The definition in plain PyTorch, the whole weight map at once: any device, any float dtype, autograd, exportable.

Legend: B batch, D E key and value channels, M queries, N keys (both flat, row-major), Q queries asked for.
"""

from typing import Any

import torch
from torch import Tensor

from sightline.ops.precision import widen, without_autocast


def objection(*operands: Any, **options: Any) -> str | None:
    """The reference runs everything."""
    return None


def run(query, key, value, concat_weight, *, similarity, scale) -> Tensor:
    """See `sightline.ops.pairwise_attention`."""
    with without_autocast(query.device):
        q, k, v, a = widen(query, key, value, concat_weight)
        attention = _attention(q.flatten(2), k.flatten(2), a, similarity, scale)  # B, M, N
        y = v.flatten(2) @ attention.transpose(1, 2)  # B, E, M
        return y.unflatten(2, query.shape[2:]).to(query.dtype)


def weights(query, key, concat_weight, *, queries, similarity, scale) -> Tensor:
    """The weights alone, (B, 1, Q, N), from the queries asked for."""
    with without_autocast(query.device):
        q, k, a = widen(query.flatten(2), key.flatten(2), concat_weight)
        if queries is not None:
            q = q[:, :, queries]
        return _attention(q, k, a, similarity, scale).unsqueeze(1)


def _attention(q: Tensor, k: Tensor, a: Tensor | None, similarity: str, scale: float) -> Tensor:
    """w (B, M, N) from q (B, D, M) and k (B, D, N)."""
    if a is not None:
        of_query, of_key = concatenated(q, k, a)
        return (of_query.unsqueeze(2) + of_key.unsqueeze(1)).relu() / k.shape[2]
    logits = (q * scale).transpose(1, 2) @ k
    return logits / k.shape[2] if similarity == "dot_product" else logits.softmax(dim=-1)


def concatenated(q: Tensor, k: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """The two parts of a . [q_i, k_j]: (B, M) of the queries and (B, N) of the keys."""
    depth = q.shape[1]
    return torch.einsum("bdm,d->bm", q, a[:depth]), torch.einsum("bdn,d->bn", k, a[depth:])
