"""Local attention: every position looks at a K x K window around itself (stand-alone self-attention).

    l[i, t] = q_i . k_t + q_i[:p] . r_row[row(t)] + q_i[p:] . r_col[col(t)]        t in the window of i
    y_i     = sum over t of softmax_t(l[i, t]) v_t                                  per head; no 1/sqrt(D)

Shapes: query (B, N*D, h, w), key (B, N*D, H, W), value (B, N*E, H, W), output (B, N*E, h, w);
        N heads as contiguous channels, D and E channels a head, h = ceil(H / stride), w = ceil(W / stride);
        relative rows (N or 1, p, K) and columns (N or 1, D - p, K), any p, entry K//2 being the centre.
Source: Ramachandran et al. 2019, "Stand-Alone Self-Attention in Vision Models", arXiv 1906.05909, section 3, eq. 2 and 3.
Ours:   border "exclude" leaves taps outside the image out of the softmax (the paper is silent); "zero" keeps them with k = v = 0,
        so that they still take part through q . r.
Ours:   row and column embeddings split the channels inside each head, so every head sees both; the tables say where.
Ours:   the query has the output's resolution; the window of output (r, c) is centred at (r*stride, c*stride).
"""

from torch import Tensor

from sightline.ops.dispatch import AUTO, choose
from sightline.ops.local_attention import cpu, dense, reference, triton
from sightline.ops.local_attention.cost import cost
from sightline.ops.tap import Op
from sightline.ops.window import check_window, output_size

BACKENDS = {"cpu": cpu, "triton": triton, "dense": dense, "reference": reference}


def local_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    relative_rows: Tensor | None = None,
    relative_cols: Tensor | None = None,
    *,
    kernel_size: int,
    heads: int = 1,
    stride: int = 1,
    dilation: int = 1,
    border: str = "exclude",
    backend: str = AUTO,
) -> Tensor:
    """Local attention of query (B, N*D, h, w) over key (B, N*D, H, W) and value (B, N*E, H, W): (B, N*E, h, w).

    Args:
        query: one query per output position.
        key: one key per input position.
        value: one value per input position.
        relative_rows: embeddings (N or 1, p, K) of the row offset; None leaves the term out.
        relative_cols: embeddings (N or 1, D - p, K) of the column offset; given with relative_rows or not at all.
        kernel_size: odd window side K.
        heads: number of heads N.
        stride: input pixels between neighbouring queries.
        dilation: input pixels between neighbouring taps.
        border: "exclude" or "zero", for taps outside the image.
        backend: "auto", or the name of one backend, which then runs or raises.

    Raises:
        ValueError: a shape or option breaks the rules above; the message quotes it.
    """
    options = {"kernel_size": kernel_size, "heads": heads, "stride": stride, "dilation": dilation, "border": border}
    _check(query, key, value, relative_rows, relative_cols, **options)
    run = choose("local_attention", BACKENDS, backend, query, key, value, relative_rows, relative_cols, **options)
    return run(query, key, value, relative_rows, relative_cols, **options)


def weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    relative_rows: Tensor | None = None,
    relative_cols: Tensor | None = None,
    *,
    queries: Tensor | None = None,
    kernel_size: int,
    heads: int = 1,
    stride: int = 1,
    dilation: int = 1,
    border: str = "exclude",
    backend: str = AUTO,
) -> Tensor:
    """Attention weights (B, N, Q, K*K) at the flat output positions queries (Q,), all when None; arguments as `local_attention`."""
    options = {"kernel_size": kernel_size, "heads": heads, "stride": stride, "dilation": dilation, "border": border}
    _check(query, key, value, relative_rows, relative_cols, **options)
    return reference.weights(query, key, relative_rows, relative_cols, queries=queries, **options)


def _check(query, key, value, relative_rows, relative_cols, *, kernel_size, heads, stride, dilation, border) -> None:
    check_window("local_attention", kernel_size, stride, dilation)
    if border not in ("exclude", "zero"):
        raise ValueError(f"local_attention: border must be 'exclude' or 'zero'; got {border!r}")
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(
            "local_attention: query, key and value must be (B, C, H, W); "
            f"got {tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
        )
    if query.shape[:2] != key.shape[:2] or key.shape[0] != value.shape[0] or key.shape[2:] != value.shape[2:]:
        raise ValueError(
            "local_attention: query and key must agree in batch and channels, key and value in batch, rows and columns; "
            f"got query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
        )
    if heads < 1 or query.shape[1] % heads or value.shape[1] % heads:
        raise ValueError(
            f"local_attention: heads must divide the channels; got heads={heads}, "
            f"{query.shape[1]} query and {value.shape[1]} value channels"
        )
    expected = output_size(key.shape[2], key.shape[3], stride)
    if tuple(query.shape[2:]) != expected:
        raise ValueError(
            f"local_attention: with stride {stride} a {tuple(key.shape[2:])} key needs a query of {expected} positions; "
            f"got {tuple(query.shape[2:])}"
        )
    if (relative_rows is None) != (relative_cols is None):
        raise ValueError("local_attention: give both relative_rows and relative_cols, or neither")
    if relative_rows is not None:
        check_relative("local_attention", relative_rows, relative_cols, heads, query.shape[1] // heads, kernel_size)


def check_relative(op: str, rows: Tensor, cols: Tensor, heads: int, depth: int, length: int) -> None:
    """Raise ValueError unless the tables (N or 1, p, length) and (N or 1, D - p, length) share the D channels of a head."""
    for name, table in (("rows", rows), ("cols", cols)):
        if table.ndim != 3 or table.shape[0] not in (1, heads) or table.shape[2] != length:
            raise ValueError(
                f"{op}: relative_{name} must be (heads or 1, channels, {length}) with heads={heads}; got {tuple(table.shape)}"
            )
    if rows.shape[1] + cols.shape[1] != depth:
        raise ValueError(
            f"{op}: relative_rows and relative_cols must share the {depth} channels of a head; "
            f"got {rows.shape[1]} + {cols.shape[1]}"
        )


LOCAL_ATTENTION = Op("local_attention", local_attention, weights, cost)
