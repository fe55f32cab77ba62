"""Closed-form cost of local relation."""

from torch import Tensor

from sightline.ops.tap import Cost


def cost(
    query: Tensor, key: Tensor, value: Tensor, geometry: Tensor | None = None, *, kernel_size: int, **_options: object
) -> Cost:
    """Cost for operands of these shapes (see `local_relation`); taps outside the image count, as a padded convolution's do.

    Per output position: K*K*G for the similarities (a product, or a difference and its square or magnitude, counts as one
    multiply-add), K*K*C for the values. The geometry prior is only added.
    """
    positions = query.shape[0] * query.shape[2] * query.shape[3]
    groups, channels = query.shape[1], value.shape[1]
    taps = kernel_size * kernel_size
    moved = query.numel() + key.numel() + value.numel() + positions * channels
    if geometry is not None:
        moved += geometry.numel()
    return Cost(positions * taps * (groups + channels), moved * query.element_size(), positions * groups * taps)
