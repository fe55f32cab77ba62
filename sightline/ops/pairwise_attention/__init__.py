"""Pairwise attention: every position looks at every key (non-local networks), in 1, 2 or 3 spatial dimensions.

    y_i = sum over j of w_ij v_j
    w_ij = softmax_j(s q_i . k_j)                       "embedded_gaussian", "gaussian"
    w_ij = s q_i . k_j / N                              "dot_product"
    w_ij = relu(a . [q_i, k_j]) / N                     "concatenation", a the concat_weight

Shapes: query (B, D, *queries), key (B, D, *keys), value (B, E, *keys), concat_weight (2D,), output (B, E, *queries);
        queries and keys are 1, 2 or 3 sizes each, as many of one as of the other; N is the number of keys (after any pooling).
Source: Wang et al. 2018, "Non-local Neural Networks", arXiv 1711.07971, section 3.1 eq. 1 and section 3.2 eq. 2 to 5.
Ours:   "gaussian" is "embedded_gaussian" on features that nobody embedded; as arithmetic on q and k the two are one.
Ours:   the scale s is 1, as in the equations; the authors' code takes 1/sqrt(D) under the softmax. Concatenation has none.
Ours:   a weighs the queries with its first D entries and the keys with its last D, and has no bias.
"""

from torch import Tensor

from sightline.ops.dispatch import AUTO, choose
from sightline.ops.pairwise_attention import linear, reference, sdpa, sorting, triton
from sightline.ops.pairwise_attention.cost import cost
from sightline.ops.tap import Op

BACKENDS = {"linear": linear, "triton": triton, "sorting": sorting, "sdpa": sdpa, "reference": reference}
SIMILARITIES = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")


def pairwise_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    concat_weight: Tensor | None = None,
    *,
    similarity: str = "embedded_gaussian",
    scale: float = 1.0,
    backend: str = AUTO,
) -> Tensor:
    """Pairwise attention of query (B, D, *queries) over key (B, D, *keys) and value (B, E, *keys): (B, E, *queries).

    Args:
        query: one query per output position.
        key: one key per (pooled) input position.
        value: one value per key.
        concat_weight: (2D,), for "concatenation" and for it alone.
        similarity: "embedded_gaussian", "gaussian", "dot_product" or "concatenation".
        scale: factor s of q . k; 1 with "concatenation".
        backend: "auto", or the name of one backend, which then runs or raises.

    Raises:
        ValueError: a shape or option breaks the rules above; the message quotes it.
    """
    options = {"similarity": similarity, "scale": scale}
    _check(query, key, value, concat_weight, **options)
    run = choose("pairwise_attention", BACKENDS, backend, query, key, value, concat_weight, **options)
    return _as_query(run(query, key, value, concat_weight, **options), query)


def _as_query(y: Tensor, query: Tensor) -> Tensor:
    """y in the query's memory format: what follows, a sum with the block's input at last, reads both as they lie."""
    if query.is_contiguous():
        return y.contiguous()
    if (
        query.ndim > 3 and query.movedim(1, -1).is_contiguous()
    ):  # channels last; `torch.func.vmap` takes no memory formats
        return y.movedim(1, -1).contiguous().movedim(-1, 1)
    return y


def weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    concat_weight: Tensor | None = None,
    *,
    queries: Tensor | None = None,
    similarity: str = "embedded_gaussian",
    scale: float = 1.0,
    backend: str = AUTO,
) -> Tensor:
    """Weights w (B, 1, Q, N) at the flat query positions queries (Q,), all when None; arguments as `pairwise_attention`.

    Keys are flat and row-major. Weights of "dot_product" may be negative; those of the two Gaussians alone sum to one.
    """
    options = {"similarity": similarity, "scale": scale}
    _check(query, key, value, concat_weight, **options)
    return reference.weights(query, key, concat_weight, queries=queries, **options)


def _check(query, key, value, concat_weight, *, similarity, scale) -> None:
    if similarity not in SIMILARITIES:
        raise ValueError(f"pairwise_attention: similarity must be one of {', '.join(SIMILARITIES)}; got {similarity!r}")
    _check_shapes(tuple(query.shape), tuple(key.shape), tuple(value.shape))
    if (concat_weight is None) == (similarity == "concatenation"):
        given = "none" if concat_weight is None else f"one of {tuple(concat_weight.shape)}"
        raise ValueError(
            "pairwise_attention: similarity 'concatenation' needs a concat_weight and the others take none; "
            f"got {given} with {similarity!r}"
        )
    if concat_weight is not None and tuple(concat_weight.shape) != (2 * query.shape[1],):
        raise ValueError(
            "pairwise_attention: concat_weight must have one entry per query channel, then one per key channel, "
            f"({2 * query.shape[1]},); got {tuple(concat_weight.shape)}"
        )
    if similarity == "concatenation" and scale != 1.0:
        raise ValueError(f"pairwise_attention: 'concatenation' has no scale, leave it at 1; got {scale}")


def _check_shapes(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]) -> None:
    if not len(query) == len(key) == len(value) or len(query) not in (3, 4, 5):
        raise ValueError(
            "pairwise_attention: query, key and value must be (B, C, *spatial) with the same 1 to 3 spatial axes; "
            f"got {query}, {key}, {value}"
        )
    if query[:2] != key[:2] or key[0] != value[0] or key[2:] != value[2:]:
        raise ValueError(
            "pairwise_attention: query and key must agree in batch and channels, key and value in batch and positions; "
            f"got query {query}, key {key}, value {value}"
        )
    if 0 in key[2:]:
        raise ValueError(f"pairwise_attention: needs at least one key; got key {key}")


PAIRWISE_ATTENTION = Op("pairwise_attention", pairwise_attention, weights, cost)
