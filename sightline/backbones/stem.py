"""Stems of the trunk: what reads the image. Each is a spatial map, then the trunk's normalisation and ReLU, then a pool.

Ours:   LR-Net's stem has no normalisation between its 1 x 1 convolution and its local relation layer; the attention stem keeps the
        ReLU between normalisation and pool, as after the convolution it stands for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from sightline.backbones.residual import convolution
from sightline.layers import AttentionStem2d, LocalRelation2d, LocalRelationStem2d


@dataclass(frozen=True)
class Stem:
    """A stem as data.

    Args:
        make: from image channels and width, the map (B, in_chans, H, W) -> (B, width, ceil(H / stride), ceil(W / stride)).
        stride: of the map.
        pool: makes the pool after it.
        pool_stride: of the pool.
        norm: normalisation and ReLU between the two.
    """

    make: Callable[[int, int], nn.Module]
    stride: int = 1
    pool: Callable[[], nn.Module] = nn.Identity
    pool_stride: int = 1
    norm: bool = True

    @property
    def reduction(self) -> int:
        """Rows of the image over rows of the first stage."""
        return self.stride * self.pool_stride


def _deep(in_chans: int, width: int) -> nn.Sequential:
    """3 x 3 / 2, 3 x 3, 3 x 3, the first two of half the width; module names are timm's."""
    half = width // 2
    first, second = convolution(in_chans, half, 3, 2), convolution(half, half, 3)
    between = [[nn.BatchNorm2d(half), nn.ReLU(inplace=True)] for _ in range(2)]
    return nn.Sequential(first, *between[0], second, *between[1], convolution(half, width, 3))


def _attention(in_chans: int, width: int) -> nn.Module:
    return AttentionStem2d(in_chans, width)


def _relation(in_chans: int, width: int) -> nn.Module:
    return LocalRelationStem2d(convolution(in_chans, width, 1), LocalRelation2d(width, width, stride=2))


_pool = partial(nn.MaxPool2d, 3, 2, 1)
SMALL_STEM = Stem(partial(convolution, kernel_size=3))
BARE_STEM = Stem(partial(convolution, kernel_size=3), norm=False)
CONV_STEM = Stem(partial(convolution, kernel_size=7, stride=2), 2, _pool, 2)
DEEP_STEM = Stem(_deep, 2, _pool, 2)
ATTENTION_STEM = Stem(_attention, 1, partial(nn.MaxPool2d, 4, ceil_mode=True), 4)
RELATION_STEM = Stem(_relation, 2, _pool, 2)
