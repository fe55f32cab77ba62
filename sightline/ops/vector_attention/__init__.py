"""Vector attention: a weight per channel group, not per head, from any relation of a window's features (SAN).

    r = delta(x_i, x_j)  or  delta(x_R(i))     `pairwise_relation`, `patchwise_relation`: what the weights are computed from
    l = gamma(r)                               the caller's: a small network with parameters of its own
    y[i, c] = sum over t of a[i, c mod G, t] v[t, c]     t in the window of i;  a = softmax_t(l) or a = l      `vector_attention`

Shapes: logits (B, G, K*K, h, w), value (B, C, H, W), output (B, C, h, w); taps row by row;
        h = ceil(H / stride), w = ceil(W / stride). Relations: see `relation.py`.
Source: Zhao, Jia, Koltun 2020, "Exploring Self-attention for Image Recognition", arXiv 2004.13621, section 3. The softmax of the
        pairwise weights, its absence from the patchwise ones, the reflected border and the interleaved sharing (channel c has
        the weights of group c mod G) are not in the paper's formulas; they are what the authors' code does.
Ours:   reflection folds as often as it must, so a map may be smaller than the window; one row or column reflects onto itself.
Ours:   border "zero" keeps taps outside the image in the softmax, with value 0; "exclude" leaves them out of it.
Ours:   the logits have the output's resolution; the window of output (r, c) is centred at (r*stride, c*stride).
"""

from torch import Tensor

from sightline.ops.dispatch import AUTO, choose
from sightline.ops.tap import Op
from sightline.ops.vector_attention import cpu, dense, reference, triton
from sightline.ops.vector_attention.cost import cost
from sightline.ops.vector_attention.relation import (
    PAIRWISE,
    PATCHWISE,
    pairwise_channels,
    pairwise_relation,
    patchwise_channels,
    patchwise_relation,
)
from sightline.ops.window import BORDERS, check_window, output_size

__all__ = [
    "PAIRWISE",
    "PATCHWISE",
    "VECTOR_ATTENTION",
    "pairwise_channels",
    "pairwise_relation",
    "patchwise_channels",
    "patchwise_relation",
    "vector_attention",
    "weights",
]

BACKENDS = {"cpu": cpu, "triton": triton, "dense": dense, "reference": reference}
NORMALISE = ("softmax", "none")


def vector_attention(
    logits: Tensor,
    value: Tensor,
    *,
    kernel_size: int,
    normalise: str = "softmax",
    stride: int = 1,
    dilation: int = 1,
    border: str = "reflect",
    backend: str = AUTO,
) -> Tensor:
    """Aggregate value (B, C, H, W) over K x K windows by the weights of logits (B, G, K*K, h, w): (B, C, h, w), value's dtype.

    Args:
        logits: one weight, or its logarithm, per output position, channel group and tap; G must divide C.
        value: one value per input position; channel c is weighted by group c mod G.
        kernel_size: odd window side K.
        normalise: "softmax" over the taps (pairwise attention), or "none" (patchwise: the logits are the weights, of either sign).
        stride: input pixels between neighbouring outputs.
        dilation: input pixels between neighbouring taps.
        border: "reflect", "zero" or, with a softmax, "exclude", for taps outside the image.
        backend: "auto", or the name of one backend, which then runs or raises.

    Raises:
        ValueError: a shape or option breaks the rules above; the message quotes it.
    """
    geometry = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation, "border": border}
    _check(logits, value, normalise=normalise, **geometry)
    run = choose("vector_attention", BACKENDS, backend, logits, value, normalise=normalise, **geometry)
    return run(logits, value, normalise=normalise, **geometry)


def weights(
    logits: Tensor,
    value: Tensor,
    *,
    queries: Tensor | None = None,
    kernel_size: int,
    normalise: str = "softmax",
    stride: int = 1,
    dilation: int = 1,
    border: str = "reflect",
    backend: str = AUTO,
) -> Tensor:
    """Weights (B, G, Q, K*K) at the flat output positions queries (Q,), all when None; arguments as `vector_attention`.

    Rows sum to one with a softmax; with normalise="none" they are signed and sum to anything.
    """
    geometry = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation, "border": border}
    _check(logits, value, normalise=normalise, **geometry)
    return reference.weights(logits, value, queries=queries, normalise=normalise, **geometry)


def _check(logits, value, *, kernel_size, normalise, stride, dilation, border) -> None:
    check_window("vector_attention", kernel_size, stride, dilation)
    if normalise not in NORMALISE:
        raise ValueError(f"vector_attention: normalise must be one of {', '.join(NORMALISE)}; got {normalise!r}")
    if border not in BORDERS:
        raise ValueError(f"vector_attention: border must be one of {', '.join(BORDERS)}; got {border!r}")
    if border == "exclude" and normalise == "none":
        raise ValueError(
            "vector_attention: border 'exclude' needs normalise='softmax'; without one, 'zero' does the same"
        )
    if logits.ndim != 5 or value.ndim != 4 or logits.shape[0] != value.shape[0]:
        raise ValueError(
            "vector_attention: logits must be (B, G, K*K, h, w) and value (B, C, H, W); "
            f"got {tuple(logits.shape)}, {tuple(value.shape)}"
        )
    if logits.shape[1] < 1 or value.shape[1] % logits.shape[1]:
        raise ValueError(
            f"vector_attention: the weight groups must divide the channels; got {logits.shape[1]} groups, "
            f"{value.shape[1]} channels"
        )
    expected = (kernel_size * kernel_size, *output_size(value.shape[2], value.shape[3], stride))
    if tuple(logits.shape[2:]) != expected:
        raise ValueError(
            f"vector_attention: a {tuple(value.shape[2:])} value with kernel_size {kernel_size} and stride {stride} "
            f"needs logits of (B, G, {', '.join(map(str, expected))}); got {tuple(logits.shape)}"
        )


VECTOR_ATTENTION = Op("vector_attention", vector_attention, weights, cost)
