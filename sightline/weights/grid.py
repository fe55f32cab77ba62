"""The grid that a number of position embeddings fills."""

import math


def grid_of(count: int, image_size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Rows and columns of `count` patches: of an image of these proportions, else a square; None when neither is possible."""
    if image_size is None:
        side = math.isqrt(count)
        return (side, side) if side * side == count else None
    proportion = math.log(image_size[0] / image_size[1])
    pairs = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    return min(pairs, key=lambda pair: abs(math.log(pair[0] / pair[1]) - proportion))
