"""Wide ResNet-28-10 for images of 32 x 32, plain, with squeeze-and-excitation, and attention-augmented.

    3 x 3, 16 channels -> three stages of four pre-activation blocks, 160, 320, 640 channels -> norm, ReLU -> average pool -> linear
    block   x' + 3 x 3(relu(norm(spatial(relu(norm(x))))))

Source: Zagoruyko and Komodakis 2016, arXiv 1605.07146, section 2; Bello et al. 2019, arXiv 1904.09925, section 4.1 (attention
        in the first convolution of all blocks). The printed multiply-adds need the attention of the 32 x 32 stage on a pooled map.
Ours:   where shapes change the shortcut starts after the block's first activation, averages over the stride and adds zero channels:
        the printed 36.3 million are those of shortcuts without parameters.
Ours:   the gate squeezes to 1/16 and has no biases: the printed 36.5 million are those of such a one.
Ours:   convolutions start He-normal, over their outputs, and no branch starts at zero: there is no normalisation after it.
Legend: B batch, C channels, H W rows and columns.
"""

from dataclasses import replace
from functools import partial

import torch.nn.functional as F
from timm.layers import SEModule
from torch import Tensor, nn

from sightline.backbones import spatial
from sightline.backbones.catalogue import Net, Printed
from sightline.backbones.register import SMALL, register
from sightline.backbones.residual import Block, Place, convolution
from sightline.backbones.stem import BARE_STEM
from sightline.backbones.trunk import TrunkConfig, build


class PreActivationBlock(Block):
    """Norm, ReLU, spatial operator, norm, ReLU, 3 x 3, with a shortcut without parameters. It has no inner width."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.stride, self.added, self.plain = place.stride, place.out_channels - place.in_channels, place.keeps_shape
        self.bn1 = nn.BatchNorm2d(place.in_channels)
        self.conv1 = place.spatial(place.in_channels, place.out_channels, place.stride, place.grid)
        self.bn2 = nn.BatchNorm2d(place.out_channels)
        self.conv2 = convolution(place.out_channels, place.out_channels, 3)
        self._end(place)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(x))
        shortcut = x if self.plain else self._shortcut(y)
        y = self.conv2(self.act(self.bn2(self.conv1(y))))
        return self.context(self._add(y, shortcut))

    def _shortcut(self, x: Tensor) -> Tensor:
        stride, added = self.stride, self.added
        if stride > 1:
            x = F.avg_pool2d(x, stride, stride, ceil_mode=True, count_include_pad=False)
        return F.pad(x, (0, 0, 0, 0, added // 2, added - added // 2))


class FinalNorm(nn.Sequential):
    """Norm and ReLU after the last block, (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.channels = channels


WIDE = TrunkConfig(
    (4, 4, 4),
    (160, 320, 640),
    (spatial.convolution,) * 3,
    expansion=1,
    strides=(1, 2, 2),
    block=PreActivationBlock,
    stem=BARE_STEM,
    stem_width=16,
    neck=FinalNorm,
)
_pooled = partial(spatial.attention_augmented, pool_attention=True)
_augmented = (_pooled, spatial.attention_augmented, spatial.attention_augmented)
_gate = partial(SEModule, rd_divisor=1, bias=False)
_CIFAR100 = SMALL | {"num_classes": 100, "mean": (0.5071, 0.4866, 0.4409), "std": (0.2673, 0.2564, 0.2762)}
_TABLE = "CIFAR-100 table"
_UNMET = "no layout tried gives 36.2 million parameters together with 10.9 billion FLOPs"


def _net(family: str, about: str, config: TrunkConfig, parameters: str, flops: str, reason: str = "") -> Net:
    source = _TABLE if family == "aa" else f"arXiv 1904.09925, {_TABLE}"
    return Net(family, about, config, Printed(source, parameters, flops, 2, reason), _CIFAR100)


NETS = {
    "conv_wide_resnet28_10": _net("convolution", "Wide ResNet-28-10.", WIDE, "36.3", "10.4"),
    "se_wide_resnet28_10": _net(
        "convolution", "Wide ResNet-28-10 with squeeze-and-excitation.", replace(WIDE, gate=_gate), "36.5", "10.4"
    ),
    "aa_wide_resnet28_10": _net(
        "aa", "Attention-augmented Wide ResNet-28-10.", replace(WIDE, spatial=_augmented), "36.2", "10.9", _UNMET
    ),
}
register(__name__, NETS, build, first_conv="conv1", classifier="fc")
