"""Windows of a K x K footprint: which pixel each tap reads, by view, by mask and by index.

Legend: B batch, C channels, H W input rows and columns, h w output rows and columns, K window side, s stride, d dilation.
The window of output (r, c) is centred at input (r*s, c*s); tap (i, j) reads row r*s + (i - K//2)*d, column c*s + (j - K//2)*d.
Output size: h = ceil(H / s), w = ceil(W / s), so every centre lies inside.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops.dispatch import known

BORDERS = ("exclude", "zero", "reflect")


def check_window(op: str, kernel_size: int, stride: int, dilation: int) -> None:
    """Raise ValueError unless the window is odd and stride and dilation are positive."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"{op}: kernel_size must be odd and positive, so that a window has a centre; got {kernel_size}"
        )
    if stride < 1 or dilation < 1:
        raise ValueError(f"{op}: stride and dilation must be at least 1; got stride={stride}, dilation={dilation}")


def output_size(height: int, width: int, stride: int) -> tuple[int, int]:
    """Rows and columns of the output grid: ceil(H / s), ceil(W / s)."""
    return (height + stride - 1) // stride, (width + stride - 1) // stride


def reflect_index(index: Tensor, size: int) -> Tensor:
    """Fold any integer coordinate into 0 .. size-1 by reflection that does not repeat the edge (any distance, size 1 too)."""
    period = max(2 * (size - 1), 1)
    folded = index.remainder(period)
    return torch.minimum(folded, 2 * (size - 1) - folded) if size > 1 else torch.zeros_like(index)


def pad(x: Tensor, margin: int, border: str) -> Tensor:
    """Pad rows and columns of x (B, C, H, W) by margin: by reflection for "reflect", else by zeros."""
    if margin == 0:
        return x
    if border != "reflect":
        return F.pad(x, (margin, margin, margin, margin))
    height, width = x.shape[-2:]
    if x.ndim == 4 and margin < min(height, width):
        return F.pad(x, (margin, margin, margin, margin), mode="reflect")  # folds once, fast
    rows = reflect_index(torch.arange(-margin, height + margin, device=x.device), height)
    cols = reflect_index(torch.arange(-margin, width + margin, device=x.device), width)
    return x.index_select(-2, rows).index_select(-1, cols)


def shifted(x: Tensor, kernel_size: int, stride: int, dilation: int, border: str) -> Iterator[Tensor]:
    """Yield, tap by tap in row-major order, the view (B, C, h, w) of what that tap reads at every output position."""
    grid = output_size(x.shape[-2], x.shape[-1], stride)
    return views(pad(x, (kernel_size // 2) * dilation, border), grid, kernel_size, stride, dilation)


def views(padded: Tensor, grid: tuple[int, int], kernel_size: int, stride: int, dilation: int) -> Iterator[Tensor]:
    """The same for a map that has its border already; grid is (h, w)."""
    h, w = grid
    for i in range(kernel_size):
        for j in range(kernel_size):
            top, left = i * dilation, j * dilation
            yield padded[..., top : top + (h - 1) * stride + 1 : stride, left : left + (w - 1) * stride + 1 : stride]


def inside(height: int, width: int, kernel_size: int, stride: int, dilation: int, device: torch.device) -> Tensor:
    """Boolean (K*K, h, w): does that tap of that output position read a pixel of the image?"""
    h, w = output_size(height, width, stride)
    offset = (torch.arange(kernel_size, device=device) - kernel_size // 2) * dilation
    rows = offset[:, None] + torch.arange(h, device=device) * stride  # K, h
    cols = offset[:, None] + torch.arange(w, device=device) * stride  # K, w
    row_in = (rows >= 0) & (rows < height)
    col_in = (cols >= 0) & (cols < width)
    return (row_in[:, None, :, None] & col_in[None, :, None, :]).flatten(0, 1)  # K*K, h, w


def targets(
    height: int, width: int, kernel_size: int, stride: int, dilation: int, border: str, queries: Tensor
) -> Tensor:
    """For flat output positions queries (Q,), the flat input positions (Q, K*K) their taps read; -1 outside the image."""
    _, w = output_size(height, width, stride)
    offset = (torch.arange(kernel_size, device=queries.device) - kernel_size // 2) * dilation
    rows = ((queries // w) * stride)[:, None] + offset  # Q, K
    cols = ((queries % w) * stride)[:, None] + offset  # Q, K
    if border == "reflect":
        rows, cols = reflect_index(rows, height), reflect_index(cols, width)
    row_in = (rows >= 0) & (rows < height)
    col_in = (cols >= 0) & (cols < width)
    flat = rows[:, :, None] * width + cols[:, None, :]  # Q, K, K
    return flat.masked_fill(~(row_in[:, :, None] & col_in[:, None, :]), -1).flatten(1)  # Q, K*K


def gather(x: Tensor, target: Tensor) -> Tensor:
    """Read x (B, C, H, W) at flat positions target (Q, S): (B, C, Q, S), zero where the target is -1."""
    taken = x.flatten(2)[:, :, target.clamp(min=0)]  # B, C, Q, S
    return taken.masked_fill(target < 0, 0)


def axis_taps(size: int, kernel_size: int, stride: int, dilation: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Along one axis, which tap of each window reads each position: index (outputs, size) into 0 .. K-1, and whether any does.

    Where none does the index is 0 and must be masked.
    """
    outputs, _ = output_size(size, 1, stride)
    position = torch.arange(size, device=device)
    distance = position - torch.arange(outputs, device=device)[:, None] * stride  # outputs, size
    tap = distance // dilation + kernel_size // 2
    reads = (distance % dilation == 0) & (tap >= 0) & (tap < kernel_size)
    return tap.masked_fill(~reads, 0), reads


PIXELS_PER_TAP = (
    4  # up to here a dense product beats one short term per tap on a CPU; at ten it is several times as slow
)


def too_large_for_dense(height: int, width: int, kernel_size: int) -> str | None:
    """Why a map is too large to be treated as one matrix of all pixels, most of which no window reads; None when it is not."""
    pixels, taps = height * width, kernel_size * kernel_size
    if not known(pixels):
        return "a map of any size may have many pixels for each of the window's taps"
    if pixels > PIXELS_PER_TAP * taps:
        return f"a map of {pixels} pixels has more than {PIXELS_PER_TAP} for each of the window's {taps} taps"
    return None


def outrun_by_dense(x: Tensor, kernel_size: int, as_many: bool = False) -> bool:
    """Whether dense products over all pixels of a map x (B, C, H, W) beat compiled kernels: it has fewer pixels than the window has
    taps; `as_many`: or as many, which is where it turns for vector attention and its mappings."""
    pixels, taps = x.shape[2] * x.shape[3], kernel_size * kernel_size
    return known(pixels) and (pixels <= taps if as_many else pixels < taps)
