"""Multi-head self-attention over tokens (ViT, DeiT): one projection for q, k and v, global attention, one output projection.

    q, k, v = split(W_qkv x);   y = W_proj concat over heads of global_attention(q, k, v)

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, appendix A; parameter names are those of timm's and DeiT's checkpoints.
Ours:   no dropout on the attention weights (the sources' recipes set it to 0); `dropout` follows the output projection.
Legend: B batch, L tokens (prefix tokens, then the grid row by row), C channels, N heads, D channels a head.
"""

import torch
from torch import Tensor, nn

from sightline.ops.global_attention import GLOBAL_ATTENTION
from sightline.ops.global_attention.sequence import SEQUENCE_ATTENTION
from sightline.ops.support import Global
from sightline.ops.tap import Tap


class MultiHeadSelfAttention(nn.Module):
    """Multi-head self-attention, tokens (B, L, C) to tokens (B, L, C), any L.

    Args:
        dim: C; heads must divide it.
        heads: attention heads N.
        prefix: tokens before the grid (class, distillation); it only says where the weights point.
        qkv_bias: bias in the q, k, v projection.
        dropout: rate after the output projection.
        relative: `forward` gets a table of 1-D relative positions, see `sightline.ops.global_attention.sequence`.
        backend: backend of the op.

    Raises:
        ValueError: heads does not divide dim.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        prefix: int = 0,
        qkv_bias: bool = True,
        dropout: float = 0.0,
        relative: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"heads must divide dim; got heads={heads}, dim={dim}")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias, device=device, dtype=dtype)
        op, options = (SEQUENCE_ATTENTION, {}) if relative else (GLOBAL_ATTENTION, {"backend": backend})
        self.attend = Tap(op, Global(prefix=prefix), **options)
        self.proj = nn.Linear(dim, dim, device=device, dtype=dtype)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: tuple[int, int], offsets: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: tokens (B, L, C).
            grid: rows and columns of the tokens behind the prefix, for whoever looks at the weights.
            offsets: with `relative`, the embeddings (2L-1, D) of the offsets from -(L-1) to L-1.
        """
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # 3, B, N, L, D
        query, key, value = qkv.unbind(0)
        operands = (query, key, value) if offsets is None else (query, key, value, offsets)
        y = self.attend(*operands, grid=grid).transpose(1, 2).flatten(2)  # B, L, N*D
        return self.proj_drop(self.proj(y))
