"""Closed-form cost of global attention."""

from torch import Tensor

from sightline.ops.tap import Cost


def cost(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    relative_rows: Tensor | None = None,
    relative_cols: Tensor | None = None,
    *,
    grid: tuple[int, int] | None = None,
    **_options: object,
) -> Cost:
    """Cost for operands of these shapes (see `global_attention`).

    Per query and head: S*D for q . k, S*E for the values, and (H + W)*D for the relative rows and columns of an H x W grid.
    """
    pairs = query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]
    macs = pairs * (query.shape[3] + value.shape[3])
    moved = query.numel() + key.numel() + value.numel() + query.shape[:3].numel() * value.shape[3]
    if relative_rows is not None and relative_cols is not None and grid is not None:
        macs += query.numel() * (grid[0] + grid[1])
        moved += relative_rows.numel() + relative_cols.numel()
    return Cost(macs, moved * query.element_size(), pairs)
