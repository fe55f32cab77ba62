"""Local relation: window weights from how well two scalars compose, plus a geometry prior (local relation networks).

    l[i, g, t] = similarity(q_i,g, k_t,g) + geometry[g, t]                          t in the window of i
    y_i,c      = sum over t of softmax_t(l[i, g(c), t]) v_t,c                       the m channels of a group share its weights

Similarities: "multiply" q k, "squared_difference" -(q - k)^2, "absolute_difference" -|q - k|.
Shapes: query (B, G, h, w) and key (B, G, H, W), one scalar a group; value (B, C, H, W); output (B, C, h, w);
        geometry (G, K*K) or (G, K, K), logits by tap, row-major; h = ceil(H / stride), w = ceil(W / stride).
Source: Hu et al. 2019, "Local Relation Networks for Image Recognition", arXiv 1904.11491, eq. 2 and figure 2.
Ours:   border "exclude" leaves taps outside the image out of the softmax, as the authors' kernels do (there by a logit of -100);
        "zero" keeps them with k = v = 0, as the public re-implementations do.
Ours:   channel order "contiguous" is g(c) = floor(c / m), the authors' kernels; "interleaved" is g(c) = c mod G, the paper's
        figure 2. One is the other after a permutation of the channels.
Ours:   with `share` = m the groups need not divide the channels: those missing from C to G m are missing from the last group
        ("contiguous") or from the last groups ("interleaved").
Ours:   the query has the output's resolution; the window of output (r, c) is centred at (r*stride, c*stride).
"""

from torch import Tensor

from sightline.ops.dispatch import AUTO, choose
from sightline.ops.local_relation import cpu, dense, reference, triton
from sightline.ops.local_relation.cost import cost
from sightline.ops.tap import Op
from sightline.ops.window import check_window, output_size

BACKENDS = {"cpu": cpu, "triton": triton, "dense": dense, "reference": reference}
ORDERS = ("contiguous", "interleaved")


def local_relation(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    geometry: Tensor | None = None,
    *,
    kernel_size: int,
    similarity: str = "multiply",
    stride: int = 1,
    dilation: int = 1,
    border: str = "exclude",
    order: str = "contiguous",
    share: int | None = None,
    backend: str = AUTO,
) -> Tensor:
    """Local relation of query (B, G, h, w) with key (B, G, H, W), aggregating value (B, C, H, W): (B, C, h, w).

    Args:
        query: one scalar per group and output position.
        key: one scalar per group and input position.
        value: what is aggregated.
        geometry: logits (G, K*K) or (G, K, K) of the taps, added to every position's; None leaves the term out.
        kernel_size: odd window side K.
        similarity: "multiply", "squared_difference" or "absolute_difference".
        stride: input pixels between neighbouring queries.
        dilation: input pixels between neighbouring taps.
        border: "exclude" or "zero", for taps outside the image.
        order: "contiguous" or "interleaved", which group a channel belongs to.
        share: m, channels of a group; (G - 1) m < C <= G m. None: C / G, where G must divide C.
        backend: "auto", or the name of one backend, which then runs or raises.

    Raises:
        ValueError: a shape or option breaks the rules above; the message quotes it.
    """
    options = {
        "kernel_size": kernel_size,
        "similarity": similarity,
        "stride": stride,
        "dilation": dilation,
        "border": border,
        "order": order,
        "share": share,
    }
    _check(query, key, value, geometry, **options)
    run = choose("local_relation", BACKENDS, backend, query, key, value, geometry, **options)
    return run(query, key, value, geometry, **options)


def weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    geometry: Tensor | None = None,
    *,
    queries: Tensor | None = None,
    kernel_size: int,
    similarity: str = "multiply",
    stride: int = 1,
    dilation: int = 1,
    border: str = "exclude",
    order: str = "contiguous",
    share: int | None = None,
    backend: str = AUTO,
) -> Tensor:
    """Weights (B, G, Q, K*K) at the flat output positions queries (Q,), all when None; arguments as `local_relation`."""
    options = {"kernel_size": kernel_size, "similarity": similarity, "stride": stride, "dilation": dilation}
    _check(query, key, value, geometry, **options, border=border, order=order, share=share)
    return reference.weights(query, key, geometry, queries=queries, **options, border=border)


def _check(query, key, value, geometry, *, kernel_size, similarity, stride, dilation, border, order, share) -> None:
    check_window("local_relation", kernel_size, stride, dilation)
    for name, given, known in (
        ("similarity", similarity, reference.SIMILARITIES),
        ("border", border, ("exclude", "zero")),
        ("order", order, ORDERS),
    ):
        if given not in known:
            raise ValueError(f"local_relation: {name} must be one of {', '.join(known)}; got {given!r}")
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(
            "local_relation: query, key and value must be (B, C, H, W); "
            f"got {tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
        )
    if query.shape[:2] != key.shape[:2] or key.shape[0] != value.shape[0] or key.shape[2:] != value.shape[2:]:
        raise ValueError(
            "local_relation: query and key must agree in batch and groups, key and value in batch, rows and columns; "
            f"got query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
        )
    groups, channels = key.shape[1], value.shape[1]
    if share is None and (groups < 1 or channels % groups):
        raise ValueError(
            f"local_relation: the groups must divide the value channels, unless share says how many a group has; "
            f"got {groups} groups, {channels} channels"
        )
    if share is not None and (share < 1 or groups != -(-channels // share)):
        raise ValueError(
            f"local_relation: {channels} value channels, share={share} of them to a group, need "
            f"{-(-channels // share) if share > 0 else 'a positive share and as many'} groups; got {groups}"
        )
    expected = output_size(key.shape[2], key.shape[3], stride)
    if tuple(query.shape[2:]) != expected:
        raise ValueError(
            f"local_relation: with stride {stride} a {tuple(key.shape[2:])} key needs a query of {expected} positions; "
            f"got {tuple(query.shape[2:])}"
        )
    taps = kernel_size * kernel_size
    if geometry is not None and tuple(geometry.shape) not in ((groups, taps), (groups, kernel_size, kernel_size)):
        raise ValueError(
            f"local_relation: geometry must be ({groups}, {taps}) or ({groups}, {kernel_size}, {kernel_size}); "
            f"got {tuple(geometry.shape)}"
        )


LOCAL_RELATION = Op("local_relation", local_relation, weights, cost)
