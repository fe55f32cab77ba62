"""The layers under test, small and in float64, away from their starting points: gammas and embeddings are drawn at random."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sightline.layers import (
    AttentionAugmentedConv2d,
    CrissCrossAttention,
    LocalRelation2d,
    MultiHeadSelfAttention,
    NonLocalBlock2d,
    PairwiseSelfAttention2d,
    PatchwiseSelfAttention2d,
    StandAloneSelfAttention2d,
)

C, SIDE, WINDOW = 16, 15, 5


class Tokens(nn.Module):
    """ViT's attention on the grid of a map: (B, C, H, W) to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = MultiHeadSelfAttention(C, heads=4)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = self.attention(x.flatten(2).transpose(1, 2), (h, w))  # B, HW, C
        return tokens.transpose(1, 2).reshape(b, c, h, w)


MAKERS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv2d(C, C, WINDOW, padding=WINDOW // 2),
    "Non-local": lambda: NonLocalBlock2d(C, normalise=False),
    "CCNet, R = 1": lambda: CrissCrossAttention(C, recurrence=1),
    "CCNet, R = 2": lambda: CrissCrossAttention(C, recurrence=2),
    "SASA": lambda: StandAloneSelfAttention2d(C, kernel_size=WINDOW, heads=4),
    "LR-Net": lambda: LocalRelation2d(C, kernel_size=WINDOW),
    "AA": lambda: AttentionAugmentedConv2d(C, C, 3, 8, 8, heads=2, size=(SIDE, SIDE)),
    "SAN pairwise": lambda: PairwiseSelfAttention2d(C, kernel_size=WINDOW),
    "SAN patchwise": lambda: PatchwiseSelfAttention2d(C, kernel_size=WINDOW),
    "ViT, DeiT": Tokens,
}
"""By name."""


def make(name: str, seed: int = 0) -> nn.Module:
    """A layer in evaluation mode whose every parameter is a random number."""
    torch.manual_seed(seed)
    layer = MAKERS[name]().double().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return layer


def row(layer: nn.Module, x: Tensor, place: tuple[int, ...]) -> Tensor:
    """The gradient of all channels of one output position with respect to the input, summed with fixed random weights: like x."""
    x = x.clone().requires_grad_()
    out = layer(x)
    weights = torch.randn(out.shape[1], generator=torch.Generator().manual_seed(7), dtype=out.dtype)
    (gradient,) = torch.autograd.grad((out[(0, slice(None), *place)] * weights).sum(), x)
    return gradient


def reach(layer: nn.Module, x: Tensor, place: tuple[int, ...]) -> Tensor:
    """Which positions the output at `place` depends on: bool, the grid of x."""
    return (row(layer, x, place)[0] != 0).any(0)
