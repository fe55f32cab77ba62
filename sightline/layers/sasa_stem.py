"""SASA's attention stem: self-attention over raw pixels that can learn edges, for its values know their place in the footprint.

    q = W_Q x,  k = W_K x,  v_m = V_m x,  mixture[m, (a, b)] = softmax_m((row_a + col_b) . nu_m)
    y = stem_attention(q, k, v, mixture) with relative rows and columns

Source: Ramachandran et al. 2019, arXiv 1906.05909, section 4.1 and appendix A.1.
Ours:   the layer is the attention alone, at the image's resolution. What follows it in the paper, normalisation and a 4 x 4
        max-pool of stride 4, belongs to the trunk, as after the convolution it stands for:
        Sequential(AttentionStem2d(3, 64), BatchNorm2d(64), MaxPool2d(4, ceil_mode=True)).
Ours:   M = 4 mixtures (the paper's number is not given; its multiply-adds allow 4 to 8); embeddings row, col and nu as wide as a
        head; relative rows and columns as in the other layers (the multiply-adds need them); no biases.
Ours:   row and col start at normal(0, 1), nu and the relative embeddings at normal(0, 1/sqrt(width)).
Legend: B batch, C in_channels, F out_channels, M mixtures, K side of the footprint, H W rows and columns.
"""

import torch
from torch import Tensor, nn

from sightline.layers.projection import check_map, hooked, plain
from sightline.layers.sasa import BORDERS, RELATIVE
from sightline.ops.dispatch import kernels_allowed
from sightline.ops.native import operator
from sightline.ops.pixel_attention import pixel_attention
from sightline.ops.precision import widen, without_autocast
from sightline.ops.stem_attention import STEM_ATTENTION, check_footprint
from sightline.ops.support import Block, Window
from sightline.ops.tap import Tap


class AttentionStem2d(nn.Module):
    """Attention stem: input (B, C, H, W) of any H and W, output (B, F, H, W).

    Args:
        in_channels: C, the channels of the image.
        out_channels: F, also the width of queries and keys; heads must divide it.
        kernel_size: side K of the footprint; odd for a window.
        heads: attention heads.
        mixtures: M, projections the values are mixed from.
        footprint: "block": the K x K block that holds the position, aligned with a K x K max-pool (the paper);
            "window": the K x K window centred at it.
        relative: "per_head" or "shared" relative embeddings, or "none".
        border: "exclude" or "zero", for places of the footprint outside the image.
        embedding: width of the embeddings row, col and nu; None: out_channels / heads.
        backend: backend of the op. Under "auto" a block's attention runs on a CPU as `sightline.ops.pixel_attention`, the same sums
            in another order, unless something wants to see the operands of the op.

    Raises:
        ValueError: an option breaks the rules above.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 64,
        kernel_size: int = 4,
        heads: int = 4,
        mixtures: int = 4,
        footprint: str = "block",
        relative: str = "per_head",
        border: str = "exclude",
        embedding: int | None = None,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_footprint("AttentionStem2d", footprint, kernel_size)
        if heads < 1 or out_channels % heads:
            raise ValueError(f"heads must divide out_channels; got heads={heads}, out_channels={out_channels}")
        if mixtures < 1:
            raise ValueError(f"mixtures must be at least 1; got {mixtures}")
        if relative not in RELATIVE:
            raise ValueError(f"relative must be one of {', '.join(RELATIVE)}; got {relative!r}")
        if border not in BORDERS:
            raise ValueError(f"border must be one of {', '.join(BORDERS)}; got {border!r}")
        factory = {"device": device, "dtype": dtype}
        depth = out_channels // heads
        width = depth if embedding is None else embedding
        self.heads, self.kernel_size, self.footprint = heads, kernel_size, footprint
        self.query = nn.Conv2d(in_channels, out_channels, 1, bias=False, **factory)
        self.key = nn.Conv2d(in_channels, out_channels, 1, bias=False, **factory)
        self.value = nn.Conv2d(in_channels, mixtures * out_channels, 1, bias=False, **factory)
        self.embed_rows = _normal(width, kernel_size, std=1.0, **factory)
        self.embed_cols = _normal(width, kernel_size, std=1.0, **factory)
        self.embed_mixtures = _normal(mixtures, width, std=width**-0.5, **factory)
        self.relative_rows: nn.Parameter | None = None
        self.relative_cols: nn.Parameter | None = None
        if relative != "none":
            tables = heads if relative == "per_head" else 1
            offsets = 2 * kernel_size - 1 if footprint == "block" else kernel_size
            self.relative_rows = _normal(tables, depth // 2, offsets, std=depth**-0.5, **factory)
            self.relative_cols = _normal(tables, depth - depth // 2, offsets, std=depth**-0.5, **factory)
        self.attend = Tap(
            STEM_ATTENTION,
            Block(kernel_size) if footprint == "block" else Window(kernel_size, border=border),
            kernel_size=kernel_size,
            heads=heads,
            footprint=footprint,
            border=border,
            backend=backend,
        )

    def mixture(self) -> Tensor:
        """How much of each projection a value has, by its place in the footprint: (M, K*K), sums over M to one."""
        places = self.embed_rows[:, :, None] + self.embed_cols[:, None, :]  # width, K, K
        return (self.embed_mixtures @ places.flatten(1)).softmax(dim=0)

    def forward(self, x: Tensor) -> Tensor:
        check_map(x)
        if (pixels := pixels_for_kernels(self, x)) is not None:
            options = {"kernel_size": self.kernel_size, "border": self.attend.options["border"]}
            return pixel_attention(pixels, *fold(self), **options, backend="cpu")
        operands = (self.query(x), self.key(x), self.value(x), self.mixture())
        return self.attend(*operands, self.relative_rows, self.relative_cols)


def pixels_for_kernels(stem: AttentionStem2d, x: Tensor) -> Tensor | None:
    """The image as the compiled kernels take it; None where queries, keys and values are wanted: no kernels, or hooks on them."""
    maps = (stem.query, stem.key, stem.value)
    if stem.footprint != "block" or not kernels_allowed(stem.attend.options["backend"]) or not all(map(plain, maps)):
        return None
    if hooked(stem.attend) or x.device.type != "cpu" or not x.is_floating_point():
        return None
    pixels = x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x
    return pixels if operator.objection(pixels, *stem.parameters()) is None else None


def fold(stem: AttentionStem2d) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `pixel_attention` takes, made of the stem's parameters: bilinear, rows, cols, values; float32."""
    heads, length = stem.heads, 2 * stem.kernel_size - 1
    with without_autocast(stem.query.weight.device):
        query, key, value, mixture, rows, cols = widen(
            *(one.weight.flatten(1) for one in (stem.query, stem.key, stem.value)),
            stem.mixture(),
            stem.relative_rows,
            stem.relative_cols,
        )
        channels = query.shape[1]
        query, key = query.view(heads, -1, channels), key.view(heads, -1, channels)  # N, D, C
        values = torch.einsum("mt,mnec->tnec", mixture, value.view(len(mixture), heads, -1, channels))
        if rows is None:
            zeros = query.new_zeros(heads, length, channels)
            return query.mT @ key, zeros, zeros, values
        part = rows.shape[1]
        by_row = rows.expand(heads, -1, -1).mT @ query[:, :part]  # N, L, C
        by_col = cols.expand(heads, -1, -1).mT @ query[:, part:]
        return query.mT @ key, by_row, by_col, values


def _normal(
    *shape: int, std: float, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, device=device, dtype=dtype).normal_(std=std))
