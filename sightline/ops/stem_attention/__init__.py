"""Stem attention: attention over raw pixels whose values are mixed from M projections by where they are read (SASA's stem).

    l[i, t] = q_i . k_t + q_i[:p] . r_row[row(t)] + q_i[p:] . r_col[col(t)]        as local attention
    y_i     = sum over t of softmax_t(l[i, t]) sum over m of mixture[m, t] v_m,t    per head; heads share the mixture

Footprint "block": t runs over the K x K block that holds i; blocks tile the image from its top left corner.
Footprint "window": t runs over the K x K window centred at i, K odd.
Shapes: query and key (B, N*D, H, W), value (B, M*N*E, H, W) with the M projections outermost, mixture (M, K*K), row-major in the
        footprint; output (B, N*E, H, W); N heads as contiguous channels;
        relative rows (N or 1, p, L) and columns (N or 1, D - p, L) of the key's offset from the query: L = 2K - 1, centre K - 1 for
        a block; L = K, centre K//2 for a window.
Source: Ramachandran et al. 2019, arXiv 1906.05909, section 4.1 and appendix A.1.
Ours:   the block is how we read the paper's window "aligned" with the one of the max-pooling; the window is how the public
        re-implementations read it.
Ours:   where K does not divide H or W, the last blocks hold fewer pixels. border "exclude" leaves what lies outside the image out
        of the softmax; "zero" keeps it with k = v = 0.
"""

from torch import Tensor

from sightline.ops.dispatch import AUTO, choose
from sightline.ops.local_attention import check_relative
from sightline.ops.stem_attention import reference
from sightline.ops.stem_attention.cost import cost
from sightline.ops.tap import Op
from sightline.ops.window import check_window

BACKENDS = {"reference": reference}
FOOTPRINTS = ("block", "window")


def stem_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixture: Tensor,
    relative_rows: Tensor | None = None,
    relative_cols: Tensor | None = None,
    *,
    kernel_size: int,
    heads: int = 1,
    footprint: str = "block",
    border: str = "exclude",
    backend: str = AUTO,
) -> Tensor:
    """Stem attention of query and key (B, N*D, H, W) over value (B, M*N*E, H, W): (B, N*E, H, W).

    Args:
        query: one query per position.
        key: one key per position.
        value: M values per position, the M projections outermost in the channels.
        mixture: (M, K*K), how much of each projection a value read at that place of the footprint has.
        relative_rows: embeddings (N or 1, p, L) of the row offset; None leaves the term out.
        relative_cols: embeddings (N or 1, D - p, L) of the column offset; given with relative_rows or not at all.
        kernel_size: side K of the footprint, odd for a window.
        heads: number of heads N.
        footprint: "block" or "window".
        border: "exclude" or "zero", for places of the footprint outside the image.
        backend: "auto", or the name of one backend, which then runs or raises.

    Raises:
        ValueError: a shape or option breaks the rules above; the message quotes it.
    """
    options = {"kernel_size": kernel_size, "heads": heads, "footprint": footprint, "border": border}
    operands = (query, key, value, mixture, relative_rows, relative_cols)
    _check(*operands, **options)
    return choose("stem_attention", BACKENDS, backend, *operands, **options)(*operands, **options)


def weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixture: Tensor,
    relative_rows: Tensor | None = None,
    relative_cols: Tensor | None = None,
    *,
    queries: Tensor | None = None,
    kernel_size: int,
    heads: int = 1,
    footprint: str = "block",
    border: str = "exclude",
    backend: str = AUTO,
) -> Tensor:
    """Attention weights (B, N, Q, K*K) at the flat positions queries (Q,), all when None; arguments as `stem_attention`."""
    options = {"kernel_size": kernel_size, "heads": heads, "footprint": footprint, "border": border}
    _check(query, key, value, mixture, relative_rows, relative_cols, **options)
    return reference.weights(query, key, relative_rows, relative_cols, queries=queries, **options)


def check_footprint(op: str, footprint: str, kernel_size: int) -> None:
    """Raise ValueError unless the footprint is known and its side positive, odd for a window."""
    if footprint not in FOOTPRINTS:
        raise ValueError(f"{op}: footprint must be one of {', '.join(FOOTPRINTS)}; got {footprint!r}")
    if footprint == "window":
        check_window(op, kernel_size, 1, 1)
    elif kernel_size < 1:
        raise ValueError(f"{op}: kernel_size must be at least 1; got {kernel_size}")


def _check(query, key, value, mixture, rows, cols, *, kernel_size, heads, footprint, border) -> None:
    check_footprint("stem_attention", footprint, kernel_size)
    if border not in ("exclude", "zero"):
        raise ValueError(f"stem_attention: border must be 'exclude' or 'zero'; got {border!r}")
    of_values = (value.shape[0], *value.shape[2:])
    if query.ndim != 4 or query.shape != key.shape or value.ndim != 4 or of_values != (key.shape[0], *key.shape[2:]):
        raise ValueError(
            "stem_attention: query and key must be one (B, N*D, H, W), value a (B, M*N*E, H, W); "
            f"got {tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
        )
    taps = kernel_size * kernel_size
    if mixture.ndim != 2 or mixture.shape[1] != taps:
        raise ValueError(f"stem_attention: mixture must be (M, {taps}); got {tuple(mixture.shape)}")
    parts = mixture.shape[0] * heads
    if parts < 1 or query.shape[1] % heads or value.shape[1] % parts:
        raise ValueError(
            f"stem_attention: heads must divide the query channels, mixtures x heads the value channels; got heads={heads}, "
            f"{mixture.shape[0]} mixtures, {query.shape[1]} query and {value.shape[1]} value channels"
        )
    if (rows is None) != (cols is None):
        raise ValueError("stem_attention: give both relative_rows and relative_cols, or neither")
    if rows is not None:
        length = 2 * kernel_size - 1 if footprint == "block" else kernel_size
        check_relative("stem_attention", rows, cols, heads, query.shape[1] // heads, length)


STEM_ATTENTION = Op("stem_attention", stem_attention, weights, cost)
