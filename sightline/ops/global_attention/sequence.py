"""Global attention with 1-D relative positions over the sequence (ViT's ablation): the offset of two tokens adds to their logit.

    l[i, j] = scale * (q_i . k_j + q_i . r[j - i + L - 1]);   y_i = sum over j of softmax_j(l[i, j]) v_j         per head

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, appendix D.4, "Relative positional embedding".
Ours:   both terms carry the scale; the table is shared by the heads; all tokens take part, the class token as the first of the row.
Legend: B batch, N heads, L tokens, D E key and value channels a head, Q asked queries; table (2L-1, D), offsets -(L-1)..L-1.
"""

import torch
from torch import Tensor

from sightline.ops.global_attention.cost import cost as content_cost
from sightline.ops.precision import widen, without_autocast
from sightline.ops.tap import Cost, Op


def run(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, *, scale: float | None = None, **_grid: object
) -> Tensor:
    """Query (B, N, L, D), key (B, N, L, D), value (B, N, L, E), table (2L-1, D): (B, N, L, E).

    Raises:
        ValueError: the table does not hold one embedding an offset.
    """
    with without_autocast(query.device):
        return (weights(query, key, value, table, scale=scale) @ widen(value)[0]).to(query.dtype)


def weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    table: Tensor,
    *,
    queries: Tensor | None = None,
    scale: float | None = None,
    **_grid: object,
) -> Tensor:
    """Attention weights (B, N, Q, L) of the queries at positions queries (Q,), all when None."""
    tokens, depth = key.shape[2], key.shape[3]
    if tuple(table.shape) != (2 * tokens - 1, depth):
        raise ValueError(
            f"global_attention: relative positions of {tokens} tokens need a table ({2 * tokens - 1}, {depth}); "
            f"got {tuple(table.shape)}"
        )
    with without_autocast(query.device):
        q, k, r = widen(query, key, table)
        if queries is None:
            queries = torch.arange(tokens, device=q.device)
        q = q[:, :, queries] * (depth**-0.5 if scale is None else scale)
        offsets = torch.arange(tokens, device=q.device) - queries[:, None] + tokens - 1  # Q, L
        by_offset = (q @ r.T).gather(3, offsets.expand(*q.shape[:2], -1, -1))  # B, N, Q, L
        return (q @ k.transpose(-2, -1) + by_offset).softmax(dim=-1)


def cost(query: Tensor, key: Tensor, value: Tensor, table: Tensor, **_options: object) -> Cost:
    """Cost for operands of these shapes: (2L-1) D per query and head beside those of the content."""
    content = content_cost(query, key, value)
    moved = content.bytes_moved + table.numel() * query.element_size()
    return Cost(content.macs + query.numel() * table.shape[0], moved, content.weights_stored)


SEQUENCE_ATTENTION = Op("global_attention", run, weights, cost)
