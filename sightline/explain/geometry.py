"""Where the cells of a grid lie in the image: what every map knows, so that nobody is asked to reshape anything.

Cell (r, c) of a grid of stride s covers the pixels r*s .. (r+1)*s - 1 of the rows, likewise of the columns; what the image has
beyond the last cell (sizes the stride does not divide, rounded down) belongs to no cell, and the last cell is the nearest to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """A grid of cells over an image, with the tokens that come before it.

    Args:
        rows, cols: cells of the grid.
        stride: pixels from one cell to the next, (rows, columns).
        image: rows and columns of the image; None where no image was seen, then the grid is its own image.
        tokens: names of the tokens before the grid, in order: "class", "distillation", "register1", ...
    """

    rows: int
    cols: int
    stride: tuple[int, int] = (1, 1)
    image: tuple[int, int] | None = None
    tokens: tuple[str, ...] = ()

    @property
    def prefix(self) -> int:
        """Number of tokens before the grid."""
        return len(self.tokens)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        return self.image or (self.rows * self.stride[0], self.cols * self.stride[1])

    def cell(self, row: int, col: int) -> tuple[int, int]:
        """The cell that covers a pixel. Raises ValueError outside the image."""
        height, width = self.size
        if not (0 <= row < height and 0 <= col < width):
            raise ValueError(f"query ({row}, {col}) lies outside the image of {height} rows and {width} columns")
        return min(row // self.stride[0], self.rows - 1), min(col // self.stride[1], self.cols - 1)

    def flat(self, query: str | tuple[int, int]) -> int:
        """Position of a pixel's cell, or of a token by its name, among prefix and cells. Raises ValueError when it has none."""
        if isinstance(query, str):
            if query not in self.tokens:
                has = f"its tokens are {', '.join(self.tokens)}" if self.tokens else "it has pixels only"
                raise ValueError(f"there is no {query!r} token in this layer; {has}")
            return self.tokens.index(query)
        row, col = self.cell(*query)
        return self.prefix + row * self.cols + col

    def box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Pixels of a cell: first row, first column, and one beyond the last row and the last column; within the image."""
        height, width = self.size
        top, left = min(row * self.stride[0], height - 1), min(col * self.stride[1], width - 1)
        return top, left, min(top + self.stride[0], height), min(left + self.stride[1], width)

    def coarser(self, grid: tuple[int, int], factor: tuple[int, int]) -> "Geometry":
        """The grid of every factor-th cell."""
        stride = (self.stride[0] * factor[0], self.stride[1] * factor[1])
        return replace(self, rows=grid[0], cols=grid[1], stride=stride)

    def over_image(self, maps: Tensor, smooth: bool = False) -> Tensor:
        """Maps (..., rows, cols) at the image's resolution (..., H, W): each cell over its own pixels, or interpolated.

        Pixels of no cell get the nearest cell's value.
        """
        height, width = self.size
        if not smooth:
            rows = (torch.arange(height) // self.stride[0]).clamp(max=self.rows - 1)
            cols = (torch.arange(width) // self.stride[1]).clamp(max=self.cols - 1)
            return maps[..., rows, :][..., cols]
        canvas = (self.rows * self.stride[0], self.cols * self.stride[1])
        flat = maps.reshape(-1, 1, *maps.shape[-2:])
        large = F.interpolate(flat, canvas, mode="bilinear", align_corners=False)
        missing = (0, max(width - canvas[1], 0), 0, max(height - canvas[0], 0))
        large = F.pad(large, missing, mode="replicate")[..., :height, :width]
        return large.reshape(*maps.shape[:-2], height, width)


def between(coarse: Geometry, fine: Geometry) -> tuple[Tensor, Tensor]:
    """How the cells of one grid share out over another: rows (h, h') and columns (w, w'), each row of which sums to one.

    A cell goes to the cells that cover its pixels, in equal parts; pixels of no cell go to the nearest.
    """
    sides = zip(
        (coarse.rows, coarse.cols), coarse.stride, (fine.rows, fine.cols), fine.stride, coarse.size, strict=True
    )
    rows, cols = (_share(*side) for side in sides)
    return rows, cols


def _share(cells: int, stride: int, others: int, other_stride: int, size: int) -> Tensor:
    pixels = torch.arange(max(size, 1))
    own = (pixels // stride).clamp(max=cells - 1)
    other = (pixels // other_stride).clamp(max=others - 1)
    counts = torch.zeros(cells, others).index_put_((own, other), torch.ones(len(pixels)), accumulate=True)
    empty = counts.sum(1) == 0  # a padded cell without a pixel of the image
    counts[empty, -1] = 1
    return counts / counts.sum(1, keepdim=True)


def stride_of(image: tuple[int, int] | None, grid: tuple[int, int], known: Iterable[int] = ()) -> tuple[int, int]:
    """Pixels from one cell to the next, from the sizes of image and grid.

    Where several strides give the same grid, one in `known` (the reductions a net states of itself) is taken, else a power of two;
    then one that rounds up to the grid before one that rounds down, and the one nearest to image over grid.
    """
    if image is None:
        return 1, 1
    rows, cols = (_strides(size, cells) for size, cells in zip(image, grid, strict=True))
    stated, ratio = set(known), image[0] / grid[0]
    if rows.keys() & cols.keys():
        both = {step: rows[step] and cols[step] for step in rows.keys() & cols.keys()}
        return (_likeliest(both, stated, ratio),) * 2
    return _likeliest(rows, stated, ratio), _likeliest(cols, stated, image[1] / grid[1])


def _strides(size: int, cells: int) -> dict[int, bool]:
    """Strides that bring `size` pixels to this many cells, and whether by rounding up; a single cell may be any size."""
    nearest = max(round(size / cells), 1)
    near = {nearest, *range(max(size // (cells + 1), 1), -(-size // max(cells - 1, 1)) + 1)}
    if cells == 1:
        near |= {2**power for power in range(12) if 2**power >= size}
    fitting = {step: -(-size // step) == cells for step in near if cells in (-(-size // step), size // step)}
    return fitting or {nearest: False}


def _likeliest(strides: dict[int, bool], known: set[int], ratio: float) -> int:
    def unlikely(step: int) -> tuple[bool, bool, bool, float, int]:
        return step not in known, step & (step - 1) != 0, not strides[step], abs(step - ratio), step

    return min(strides, key=unlikely)
