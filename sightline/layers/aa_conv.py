"""Attention-augmented convolution (AA): a convolution and global attention side by side, their channels concatenated.

    q, k, v = split(W_QKV x);   y = concat[conv(x), W_O global_attention(q, k, v) with relative rows and columns]

Source: Bello et al. 2019, arXiv 1904.09925, sections 3.1 and 3.2.
Ours:   a stride belongs to both branches: the qkv convolution takes every stride-th pixel, as the convolution does.
Ours:   an embedding belongs to an offset, whatever the map: a smaller map uses the middle of the tables, a larger one repeats
        their ends for offsets they do not have. So the layer runs on any H x W, and stays as it was trained on `size`.
Ours:   `pool_attention` (the paper's saving in its first stage) averages the attention input over 3 x 3 windows with stride 2;
        bilinear upsampling puts pooled pixel (r, c) back at (2r, 2c), the centre of its window.
Ours:   no bias by default (the printed parameter counts have none); relative embeddings start at normal(0, 1/sqrt(D)),
        D key channels a head; convolutions as torch's do.
Legend: B batch, C in_channels, F out_channels, N heads, D E key and value channels a head, H W rows and columns, h w those of
        the attention.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.projection import check_map
from sightline.ops.dispatch import known
from sightline.ops.global_attention import GLOBAL_ATTENTION
from sightline.ops.support import Global
from sightline.ops.tap import Tap


class AttentionAugmentedConv2d(nn.Module):
    """Attention-augmented convolution, a drop-in for Conv2d(in_channels, out_channels, kernel_size, stride, padding="same").

    Input (B, C, H, W) of any H and W, output (B, F, ceil(H / stride), ceil(W / stride)): F - value_channels channels of the
    convolution, then value_channels of the attention.

    Args:
        in_channels: C.
        out_channels: F.
        kernel_size: odd side of the convolution.
        key_channels: d_k, all heads together; heads must divide it.
        value_channels: d_v, all heads together; heads must divide it; with d_v = F there is no convolution (fully attentional).
        heads: attention heads N.
        stride: output stride.
        relative: relative row and column embeddings, shared by the heads.
        size: rows and columns of the input the relative tables are made for; other sizes run too (see Ours).
        qkv_kernel: odd side of the convolution that makes queries, keys and values.
        pool_attention: attend on an input pooled by 2 and upsample the result; the convolution branch is untouched.
        bias: biases in all three convolutions.
        backend: backend of the op.

    Raises:
        ValueError: an option breaks the rules above.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        key_channels: int,
        value_channels: int,
        heads: int = 8,
        stride: int = 1,
        relative: bool = True,
        size: tuple[int, int] = (32, 32),
        qkv_kernel: int = 1,
        pool_attention: bool = False,
        bias: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check(out_channels, kernel_size, key_channels, value_channels, heads, stride, size, qkv_kernel)
        factory = {"device": device, "dtype": dtype}
        self.heads = heads
        self.pool_attention = pool_attention
        self.channels = (key_channels, key_channels, value_channels)
        self.conv: nn.Conv2d | None = None
        if value_channels < out_channels:
            self.conv = _same(in_channels, out_channels - value_channels, kernel_size, stride, bias, factory)
        self.qkv = _same(in_channels, sum(self.channels), qkv_kernel, stride, bias, factory)
        self.project = nn.Conv2d(value_channels, value_channels, 1, bias=bias, **factory)
        self.relative_rows: nn.Parameter | None = None
        self.relative_cols: nn.Parameter | None = None
        if relative:
            rows, cols = self._attention_size(*size)
            self.relative_rows = _table(rows, key_channels // heads, factory)
            self.relative_cols = _table(cols, key_channels // heads, factory)
        self.attend = Tap(GLOBAL_ATTENTION, Global(), backend=backend)

    def forward(self, x: Tensor) -> Tensor:
        check_map(x)
        attended = self._attention(x)
        return attended if self.conv is None else torch.cat([self.conv(x), attended], dim=1)

    def _attention(self, x: Tensor) -> Tensor:
        qkv = self.qkv(average_pool_3x3(x) if self.pool_attention else x)
        grid = (qkv.shape[2], qkv.shape[3])
        query, key, value = (self._split(part) for part in qkv.split(self.channels, dim=1))
        rows = None if self.relative_rows is None else table_for(self.relative_rows, grid[0])
        cols = None if self.relative_cols is None else table_for(self.relative_cols, grid[1])
        y = self.attend(query, key, value, rows, cols, grid=grid)  # B, N, h*w, E
        pixels = y.transpose(1, 2).flatten(2)  # B, h*w, N*E
        y = self.project(pixels.transpose(1, 2).unflatten(2, grid))  # B, N*E, h, w in channels_last
        if not self.pool_attention:
            return y
        step = self.qkv.stride
        return upsample_by_two(y, -(-x.shape[2] // step[0]), -(-x.shape[3] // step[1]))

    def _split(self, part: Tensor) -> Tensor:
        """(B, N*D, h, w) -> (B, N, h*w, D); heads are contiguous channels."""
        return part.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)

    def _attention_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the attention for an input of height x width."""
        step = self.qkv.stride[0] * (2 if self.pool_attention else 1)
        return -(-height // step), -(-width // step)


def table_for(table: Tensor, size: int) -> Tensor:
    """The table (2*size - 1, D) for another size of the axis: the same offset keeps its embedding, ends are repeated."""
    reach = table.shape[0] // 2  # largest offset the table has
    if known(size) and size == reach + 1:
        return table
    offsets = torch.arange(-(size - 1), size, device=table.device).clamp(-reach, reach)
    return table[offsets + reach]


def average_pool_3x3(x: Tensor) -> Tensor:
    """Average over the 3 x 3 window centred at every second pixel, of the pixels inside: (B, C, ceil(H / 2), ceil(W / 2))."""
    return F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)


def upsample_by_two(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear upsampling of (B, C, h, w) to height in 2h-1..2h and width in 2w-1..2w; pixel (r, c) lands at (2r, 2c)."""
    rows, cols = 2 * x.shape[2] - 1, 2 * x.shape[3] - 1
    between = F.interpolate(x, (rows, cols), mode="bilinear", align_corners=True)
    return F.pad(between, (0, width - cols, 0, height - rows), mode="replicate")


def _same(in_channels: int, out_channels: int, kernel_size: int, stride: int, bias: bool, factory: dict) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=bias, **factory)


def _table(size: int, depth: int, factory: dict) -> nn.Parameter:
    table = nn.Parameter(torch.empty(2 * size - 1, depth, **factory))
    nn.init.normal_(table, std=depth**-0.5)
    return table


def _check(out_channels, kernel_size, key_channels, value_channels, heads, stride, size, qkv_kernel) -> None:
    if heads < 1 or key_channels % heads or value_channels % heads:
        raise ValueError(
            f"heads must divide key_channels and value_channels; got heads={heads}, "
            f"key_channels={key_channels}, value_channels={value_channels}"
        )
    if key_channels < 1 or not 0 < value_channels <= out_channels:
        raise ValueError(
            "key_channels must be positive and value_channels in 1..out_channels; "
            f"got key_channels={key_channels}, value_channels={value_channels}, out_channels={out_channels}"
        )
    for name, side in (("kernel_size", kernel_size), ("qkv_kernel", qkv_kernel)):
        if side < 1 or side % 2 == 0:
            raise ValueError(f"{name} must be odd and positive, so that a window has a centre; got {side}")
    if stride < 1 or min(size) < 1:
        raise ValueError(f"stride, rows and columns of size must be positive; got stride={stride}, size={tuple(size)}")
