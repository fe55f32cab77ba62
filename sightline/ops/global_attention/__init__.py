"""Global attention: every query looks at every key (ViT, DeiT), with 2-D relative positions when asked for (AA).

    l[i, j] = scale * (q_i . k_j + q_i . r_row[row(j) - row(i) + H - 1] + q_i . r_col[col(j) - col(i) + W - 1])
    y_i     = sum over j of softmax_j(l[i, j]) v_j                                   per head; scale = 1/sqrt(D)

Shapes: query (B, N, L, D), key (B, N, S, D), value (B, N, S, E), output (B, N, L, E): N heads, L queries, S keys, D and E
        channels a head; relative rows (2H-1, D) and columns (2W-1, D), offset key - query + size - 1, shared by the heads;
        with them L = S = H*W tokens, row-major on the grid (H, W).
Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", arXiv 2010.11929, appendix A, eq. 5 to 8;
        Bello et al. 2019, "Attention Augmented Convolutional Networks", arXiv 1904.09925, section 3.1, eq. 1 to 4.
Ours:   content and relative terms both carry the scale (the queries are scaled once, before either product).
Ours:   the relative tables are read out once per pair of rows and pair of columns, (H, H, D) and (W, W, D), before the product
        with the queries: nothing of size (H*W, H*W, D) exists, and no padding or reshaping trick is needed.
"""

from torch import Tensor

from sightline.ops.dispatch import AUTO, choose
from sightline.ops.global_attention import reference, sdpa, triton
from sightline.ops.global_attention.cost import cost
from sightline.ops.tap import Op

BACKENDS = {"triton": triton, "sdpa": sdpa, "reference": reference}


def global_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    relative_rows: Tensor | None = None,
    relative_cols: Tensor | None = None,
    *,
    grid: tuple[int, int] | None = None,
    scale: float | None = None,
    backend: str = AUTO,
) -> Tensor:
    """Global attention of query (B, N, L, D) over key (B, N, S, D) and value (B, N, S, E): (B, N, L, E).

    Args:
        query: the tokens that look.
        key: the tokens looked at.
        value: what is read there.
        relative_rows: embeddings (2H-1, D) of the row offset key - query, from -(H-1) to H-1; None leaves the term out.
        relative_cols: embeddings (2W-1, D) of the column offset; given with relative_rows or not at all.
        grid: rows and columns (H, W) of the tokens; needed by the relative terms, otherwise unused here.
        scale: factor of all logits; None: 1/sqrt(D).
        backend: "auto", or the name of one backend, which then runs or raises.

    Raises:
        ValueError: a shape or option breaks the rules above; the message quotes it.
    """
    _check(query, key, value, relative_rows, relative_cols, grid)
    operands = (query, key, value, relative_rows, relative_cols)
    options = {"grid": grid, "scale": query.shape[-1] ** -0.5 if scale is None else scale}
    return choose("global_attention", BACKENDS, backend, *operands, **options)(*operands, **options)


def weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    relative_rows: Tensor | None = None,
    relative_cols: Tensor | None = None,
    *,
    queries: Tensor | None = None,
    grid: tuple[int, int] | None = None,
    scale: float | None = None,
    backend: str = AUTO,
) -> Tensor:
    """Attention weights (B, N, Q, S) of the queries at positions queries (Q,), all when None; arguments as `global_attention`."""
    _check(query, key, value, relative_rows, relative_cols, grid)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return reference.weights(query, key, relative_rows, relative_cols, queries=queries, grid=grid, scale=scale)


def _check(query, key, value, relative_rows, relative_cols, grid) -> None:
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(
            "global_attention: query, key and value must be (batch, heads, tokens, channels); "
            f"got {tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
        )
    if query.shape[:2] != key.shape[:2] or query.shape[3] != key.shape[3] or key.shape[:3] != value.shape[:3]:
        raise ValueError(
            "global_attention: all must agree in batch and heads, query and key in channels, key and value in tokens; "
            f"got query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
        )
    if key.shape[2] == 0 or key.shape[3] == 0:
        raise ValueError(
            f"global_attention: needs at least one key of at least one channel; got key {tuple(key.shape)}"
        )
    if (relative_rows is None) != (relative_cols is None):
        raise ValueError("global_attention: give both relative_rows and relative_cols, or neither")
    if relative_rows is not None:
        _check_relative(query, key, relative_rows, relative_cols, grid)


def _check_relative(query, key, relative_rows, relative_cols, grid) -> None:
    if grid is None:
        raise ValueError("global_attention: relative terms need the grid of the tokens, grid=(rows, columns)")
    if query.shape[2] != grid[0] * grid[1] or key.shape[2] != grid[0] * grid[1]:
        raise ValueError(
            f"global_attention: with relative terms the {grid[0]} x {grid[1]} grid needs {grid[0] * grid[1]} queries and keys; "
            f"got {query.shape[2]} and {key.shape[2]}"
        )
    for name, table, size in (("rows", relative_rows, grid[0]), ("cols", relative_cols, grid[1])):
        if tuple(table.shape) != (2 * size - 1, query.shape[3]):
            raise ValueError(
                f"global_attention: relative_{name} must be ({2 * size - 1}, {query.shape[3]}), one embedding an offset "
                f"-{size - 1}..{size - 1}; got {tuple(table.shape)}"
            )


GLOBAL_ATTENTION = Op("global_attention", global_attention, weights, cost)
