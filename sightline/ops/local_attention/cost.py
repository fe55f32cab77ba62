"""Closed-form cost of local attention."""

from torch import Tensor

from sightline.ops.tap import Cost


def cost(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    relative_rows: Tensor | None = None,
    relative_cols: Tensor | None = None,
    *,
    kernel_size: int,
    heads: int = 1,
    **_options: object,
) -> Cost:
    """Cost for operands of these shapes (see `local_attention`); taps outside the image count, as a padded convolution's do.

    Per output position: K*K*N*D for q . k, K*N*D for q . r (a row half and a column half), K*K*N*E for the values.
    """
    positions = query.shape[0] * query.shape[2] * query.shape[3]
    taps = kernel_size * kernel_size
    macs = positions * taps * (query.shape[1] + value.shape[1])
    moved = query.numel() + key.numel() + value.numel() + positions * value.shape[1]
    if relative_rows is not None and relative_cols is not None:
        macs += positions * kernel_size * query.shape[1]
        moved += relative_rows.numel() + relative_cols.numel()
    return Cost(macs, moved * query.element_size(), positions * heads * taps)
