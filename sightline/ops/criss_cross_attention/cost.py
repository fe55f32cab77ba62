"""Closed-form cost of one criss-cross pass."""

from torch import Tensor

from sightline.ops.tap import Cost


def cost(query: Tensor, key: Tensor, value: Tensor, **_options: object) -> Cost:
    """Cost for operands of these shapes (see `criss_cross_attention`).

    Multiply-adds per position: (H + W - 1)(D + E), in a video (T + H + W - 2)(D + E): each position of the cross once. Stored are
    H + W (+ T) weights per position, the empty entries of the query itself included.
    """
    grid = query.shape[2:]
    positions = query.shape[0] * grid.numel()
    entries = sum(grid)
    macs = positions * (entries - len(grid) + 1) * (query.shape[1] + value.shape[1])
    moved = query.numel() + key.numel() + value.numel() + positions * value.shape[1]
    return Cost(macs, moved * query.element_size(), positions * entries)
