"""Stand-alone self-attention (SASA) as layers: a K x K attention that stands where a convolution stood.

    q = W_Q x,  k = W_K x,  v = W_V x;   y = local_attention(q, k, v) with relative rows and columns;   stride: average pool after

Source: Ramachandran et al. 2019, arXiv 1906.05909, sections 3.1 and 3.2.
Ours:   one dense projection per q, k, v (the text describes one per head, the printed parameter counts need dense ones;
        `projection_groups=heads` gives the text's); no bias; no output projection, the 1 x 1 convolution that follows mixes.
Ours:   of the D channels of a head the first floor(D/2) meet the row embedding, the others the column embedding.
Ours:   relative embeddings start at normal(0, 1/sqrt(D)); projections as torch's convolutions do.
Legend: B batch, C in_channels, F out_channels, H W rows and columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.projection import check_map, project
from sightline.ops.local_attention import LOCAL_ATTENTION
from sightline.ops.support import Window
from sightline.ops.tap import Tap
from sightline.ops.window import check_window

RELATIVE = ("per_head", "shared", "none")
BORDERS = ("exclude", "zero")


class StandAloneSelfAttention2d(nn.Module):
    """Stand-alone self-attention, a drop-in for Conv2d(in_channels, out_channels, kernel_size, stride, padding="same").

    Input (B, C, H, W) of any H and W, output (B, F, ceil(H / stride), ceil(W / stride)).

    Args:
        in_channels: C.
        out_channels: F, also the width of queries and keys; heads must divide it. None: in_channels.
        kernel_size: odd window side.
        stride: output stride.
        dilation: pixels between taps.
        heads: attention heads.
        relative: "per_head" or "shared" relative embeddings, or "none".
        border: "exclude" or "zero", see `sightline.ops.local_attention`.
        downsample: "pool" attends at full resolution and average-pools (the paper); "stride" asks only every stride-th query.
        projection_groups: groups of the three projections.
        bias: biases in the three projections.
        backend: backend of the op.

    Raises:
        ValueError: an option breaks the rules above.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        kernel_size: int = 7,
        stride: int = 1,
        dilation: int = 1,
        heads: int = 8,
        relative: str = "per_head",
        border: str = "exclude",
        downsample: str = "pool",
        projection_groups: int = 1,
        bias: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        check_window("StandAloneSelfAttention2d", kernel_size, stride, dilation)
        if heads < 1 or out_channels % heads:
            raise ValueError(f"heads must divide out_channels; got heads={heads}, out_channels={out_channels}")
        if relative not in RELATIVE:
            raise ValueError(f"relative must be one of {', '.join(RELATIVE)}; got {relative!r}")
        if border not in BORDERS:
            raise ValueError(f"border must be one of {', '.join(BORDERS)}; got {border!r}")
        if downsample not in ("pool", "stride"):
            raise ValueError(f"downsample must be 'pool' or 'stride'; got {downsample!r}")
        factory = {"device": device, "dtype": dtype}
        self.pool_stride = stride if downsample == "pool" else 1
        self.query_stride = stride if downsample == "stride" else 1
        self.query = nn.Conv2d(in_channels, out_channels, 1, groups=projection_groups, bias=bias, **factory)
        self.key = nn.Conv2d(in_channels, out_channels, 1, groups=projection_groups, bias=bias, **factory)
        self.value = nn.Conv2d(in_channels, out_channels, 1, groups=projection_groups, bias=bias, **factory)
        self.relative_rows: nn.Parameter | None = None
        self.relative_cols: nn.Parameter | None = None
        if relative != "none":
            tables, depth = (heads if relative == "per_head" else 1), out_channels // heads
            self.relative_rows = nn.Parameter(torch.empty(tables, depth // 2, kernel_size, **factory))
            self.relative_cols = nn.Parameter(torch.empty(tables, depth - depth // 2, kernel_size, **factory))
            nn.init.normal_(self.relative_rows, std=depth**-0.5)
            nn.init.normal_(self.relative_cols, std=depth**-0.5)
        self.attend = Tap(
            LOCAL_ATTENTION,
            Window(kernel_size, self.query_stride, dilation, border),
            kernel_size=kernel_size,
            heads=heads,
            stride=self.query_stride,
            dilation=dilation,
            border=border,
            backend=backend,
        )

    def forward(self, x: Tensor) -> Tensor:
        check_map(x)
        if (step := self.query_stride) > 1:
            query, (key, value) = self.query(x[:, :, ::step, ::step]), project(x, (self.key, self.value))
        else:
            query, key, value = project(x, (self.query, self.key, self.value))
        y = self.attend(query, key, value, self.relative_rows, self.relative_cols)
        return average_pool(y, self.pool_stride)


def average_pool(x: Tensor, stride: int) -> Tensor:
    """Average over stride x stride blocks; an incomplete block at the far border averages the pixels it has."""
    if stride == 1:
        return x
    return F.avg_pool2d(x, stride, stride, ceil_mode=True, count_include_pad=False)
