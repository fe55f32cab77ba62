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

from sightline.layers.sasa import RELATIVE
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
        backend: backend of the op.

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
        if out_channels % heads:
            raise ValueError(f"heads must divide out_channels; got heads={heads}, out_channels={out_channels}")
        if mixtures < 1:
            raise ValueError(f"mixtures must be at least 1; got {mixtures}")
        if relative not in RELATIVE:
            raise ValueError(f"relative must be one of {', '.join(RELATIVE)}; got {relative!r}")
        factory = {"device": device, "dtype": dtype}
        depth = out_channels // heads
        width = depth if embedding is None else embedding
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
        operands = (self.query(x), self.key(x), self.value(x), self.mixture())
        return self.attend(*operands, self.relative_rows, self.relative_cols)


def _normal(
    *shape: int, std: float, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, device=device, dtype=dtype).normal_(std=std))
