"""Criss-cross attention: every position looks along its own column and row, and through time in a video (CCNet). One pass.

    y_u = sum over t of softmax_t(q_u . k_t) v_t                t on the cross of u, u itself counted once; no 1/sqrt(D)

Shapes: query and key (B, D, H, W), value (B, E, H, W), output (B, E, H, W); a cross has H + W - 1 positions;
        or (B, D, T, H, W) with T frames, where it has T + H + W - 2.
Source: Huang et al. 2019, "CCNet: Criss-Cross Attention for Semantic Segmentation", arXiv 1811.11721, section 3.2 and,
        for the cross in 3 dimensions, its journal version (T-PAMI 2020).
Ours:   entries of the weights are the column (H, top to bottom, u among them), the row (W, left to right), then the frames
        (T, first to last); the entries of row and frames that are u again have weight zero. One frame so repeats the image's order.
"""

from torch import Tensor

from sightline.ops.criss_cross_attention import cpu, reference, triton
from sightline.ops.criss_cross_attention.cost import cost
from sightline.ops.dispatch import AUTO, choose
from sightline.ops.tap import Op

BACKENDS = {"cpu": cpu, "triton": triton, "reference": reference}


def criss_cross_attention(query: Tensor, key: Tensor, value: Tensor, *, backend: str = AUTO) -> Tensor:
    """One criss-cross pass of query (B, D, [T,] H, W) over key and value (B, E, [T,] H, W): (B, E, [T,] H, W).

    Args:
        query: one query per position.
        key: one key per position.
        value: one value per position.
        backend: "auto", or the name of one backend, which then runs or raises.

    Raises:
        ValueError: a shape breaks the rules above; the message quotes it.
    """
    _check(query, key, value)
    run = choose("criss_cross_attention", BACKENDS, backend, query, key, value)
    return run(query, key, value)


def weights(query: Tensor, key: Tensor, value: Tensor, *, queries: Tensor | None = None, backend: str = AUTO) -> Tensor:
    """Attention weights (B, 1, Q, H+W) or (B, 1, Q, H+W+T) at the flat positions queries (Q,), all when None.

    The entries are ordered as above: column, row, frames.
    """
    _check(query, key, value)
    return reference.weights(query, key, queries=queries)


def _check(query, key, value) -> None:
    if query.ndim not in (4, 5) or not query.ndim == key.ndim == value.ndim:
        raise ValueError(
            "criss_cross_attention: query, key and value must be (B, C, H, W), or (B, C, T, H, W), all of one kind; "
            f"got {tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
        )
    if query.shape != key.shape or key.shape[0] != value.shape[0] or key.shape[2:] != value.shape[2:]:
        raise ValueError(
            "criss_cross_attention: query and key must have one shape, key and value one batch and one grid; "
            f"got query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
        )


CRISS_CROSS_ATTENTION = Op("criss_cross_attention", criss_cross_attention, weights, cost)
