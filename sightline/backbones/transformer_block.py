"""The transformer block of ViT and DeiT: attention and perceptron, each behind a norm and around a shortcut.

    x = x + attention(norm1(x));   x = x + W_2 gelu(W_1 norm2(x) + b_1) + b_2

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, eq. 2 and 3. GELU: the tanh form in Google's code, the erf form in DeiT's.
Legend: B batch, L tokens, C channels.
"""

import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from sightline.layers import MultiHeadSelfAttention

GELU = {"erf": "none", "tanh": "tanh"}  # our name -> torch's


class Perceptron(nn.Module):
    """Two linear maps around a GELU, dropout after each; tokens (B, L, C) to (B, L, C)."""

    def __init__(self, dim: int, hidden: int, gelu: str = "erf", dropout: float = 0.0) -> None:
        super().__init__()
        if gelu not in GELU:
            raise ValueError(f"gelu must be one of {', '.join(GELU)}; got {gelu!r}")
        self.approximate = GELU[gelu]
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(F.gelu(self.fc1(x), approximate=self.approximate))
        return self.drop(self.fc2(x))


class TransformerBlock(nn.Module):
    """A pre-norm block on tokens (B, L, C).

    Args:
        dim: C.
        heads: attention heads.
        hidden: inner width of the perceptron.
        prefix: tokens before the grid.
        gelu: "erf" or "tanh".
        dropout: after every linear map but the q, k, v projection.
        drop_path: probability of skipping each of the two branches, per image.
        relative: the attention gets a table of relative positions.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        prefix: int = 0,
        gelu: str = "erf",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        relative: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = MultiHeadSelfAttention(dim, heads, prefix, dropout=dropout, relative=relative)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Perceptron(dim, hidden, gelu, dropout)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, grid: tuple[int, int], offsets: Tensor | None = None) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), grid, offsets))
        return x + self.drop_path(self.mlp(self.norm2(x)))
