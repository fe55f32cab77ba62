"""Closed-form cost of stem attention."""

from torch import Tensor

from sightline.ops.tap import Cost


def cost(
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
    **_options: object,
) -> Cost:
    """Cost for operands of these shapes (see `stem_attention`); places outside the image count, as a padded convolution's do.

    Per position: K*K*N*D for q . k, K*N*D for q . r (a row half and a column half), K*K*N*E for the values, and M*N*E for mixing
    them: once in a block, K*K times in a window, where a pixel has another place in every window that reads it.
    """
    positions = query.shape[0] * query.shape[2] * query.shape[3]
    taps = kernel_size * kernel_size
    channels = value.shape[1] // mixture.shape[0]  # N*E
    mixing = value.shape[1] * (1 if footprint == "block" else taps)
    macs = positions * (taps * (query.shape[1] + channels) + mixing)
    moved = query.numel() + key.numel() + value.numel() + mixture.numel() + positions * channels
    if relative_rows is not None and relative_cols is not None:
        macs += positions * kernel_size * query.shape[1]
        moved += relative_rows.numel() + relative_cols.numel()
    return Cost(macs, moved * query.element_size(), positions * heads * taps)
