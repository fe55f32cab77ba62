"""The dict of spatial operators: what may stand where a bottleneck's 3 x 3 convolution stood."""

from functools import partial

from torch import nn

from sightline.backbones import residual
from sightline.backbones.residual import Spatial
from sightline.layers import AttentionAugmentedConv2d, LocalRelation2d, StandAloneSelfAttention2d


def convolution(
    in_channels: int, out_channels: int, stride: int, grid: tuple[int, int], kernel_size: int = 3, dilation: int = 1
) -> nn.Module:
    """The twin's operator: a k x k convolution without bias."""
    return residual.convolution(in_channels, out_channels, kernel_size, stride, dilation)


def sasa(
    in_channels: int,
    out_channels: int,
    stride: int,
    grid: tuple[int, int],
    kernel_size: int = 7,
    heads: int = 8,
    downsample: str = "pool",
) -> nn.Module:
    """Stand-alone self-attention (SASA, section 3.1)."""
    return StandAloneSelfAttention2d(in_channels, out_channels, kernel_size, stride, heads=heads, downsample=downsample)


def local_relation(
    in_channels: int, out_channels: int, stride: int, grid: tuple[int, int], kernel_size: int = 7, share: int = 8
) -> nn.Module:
    """The local relation layer (LR-Net, section 3.2)."""
    return LocalRelation2d(in_channels, out_channels, kernel_size, stride, share=share)


def attention_augmented(
    in_channels: int,
    out_channels: int,
    stride: int,
    grid: tuple[int, int],
    key_ratio: float = 0.2,
    value_ratio: float = 0.1,
    heads: int = 8,
    least_key_depth: int = 20,
    pool_attention: bool = False,
) -> nn.Module:
    """Attention-augmented convolution (AA, section 3.2): widths by ratio, rounded down to a multiple of the heads."""
    keys, values = augmented_widths(out_channels, heads, key_ratio, value_ratio, least_key_depth)
    return AttentionAugmentedConv2d(
        in_channels, out_channels, 3, keys, values, heads=heads, stride=stride, size=grid, pool_attention=pool_attention
    )


def augmented_widths(
    out_channels: int, heads: int, key_ratio: float = 0.2, value_ratio: float = 0.1, least_key_depth: int = 20
) -> tuple[int, int]:
    """Key and value channels of an attention-augmented convolution: by ratio, rounded down to a multiple of the heads."""
    keys = max(int(key_ratio * out_channels) // heads, least_key_depth) * heads
    values = max(int(value_ratio * out_channels) // heads, 1) * heads
    return keys, values


SPATIAL: dict[str, Spatial] = {
    "conv": convolution,
    "conv5": partial(convolution, kernel_size=5),
    "sasa": sasa,
    "local_relation": local_relation,
    "aa": attention_augmented,
}
