"""CCNet: a dilated ResNet of output stride 8 and recurrent criss-cross attention on its features.

    X      stem of three 3 x 3 convolutions, four stages; the last two keep the resolution, with dilation 2 and 4  B, 2048, H/8, W/8
    head   y = norm(3 x 3(X)),  y = criss_cross(y) twice,  y = norm(3 x 3(y)),  norm(3 x 3(concat[X, y]))          B, 512, H/8, W/8

Source: Huang et al. 2019, arXiv 1811.11721, section 3; layout as in the authors' code, which has no ReLU after the head's
        normalisations. There a dropout of 0.1 and a 1 x 1 convolution make the logits of every pixel, and a second head on stage 3
        helps training.
Ours:   for image recognition the classifier is linear on the averaged features, the average of the 1 x 1 convolution's logits; the
        dropout is the option `drop_rate`; the second head is left out. `forward_features` gives the map a segmenter needs.
Ours:   the head's convolutions start as the trunk's do, He-normal; gamma starts at zero, as in the authors' code.
Legend: B batch, C channels, H W rows and columns.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from sightline.backbones import spatial
from sightline.backbones.catalogue import Net, Printed
from sightline.backbones.conv_nets import RESNET50, RESNET101
from sightline.backbones.register import IMAGENET, register
from sightline.backbones.residual import convolution
from sightline.backbones.stem import DEEP_STEM
from sightline.backbones.trunk import TrunkConfig, build
from sightline.layers import CrissCrossAttention


class CrissCrossHead(nn.Module):
    """Features (B, C, H, W) to features that saw the whole image, (B, channels, H, W).

    Args:
        in_channels: C.
        channels: of the output and of the attention.
        recurrence: passes of the attention.
    """

    def __init__(self, in_channels: int, channels: int = 512, recurrence: int = 2) -> None:
        super().__init__()
        self.channels = channels
        self.reduce = _conv_norm(in_channels, channels)
        self.attention = CrissCrossAttention(channels, recurrence=recurrence)
        self.smooth = _conv_norm(channels, channels)
        self.fuse = _conv_norm(in_channels + channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.smooth(self.attention(self.reduce(x)))
        return self.fuse(torch.cat([x, y], dim=1))


def _conv_norm(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(convolution(in_channels, out_channels, 3), nn.BatchNorm2d(out_channels))


def _dilated(base: TrunkConfig) -> TrunkConfig:
    """`base` at output stride 8 with the criss-cross head."""
    conv = spatial.convolution
    operators = (conv, conv, partial(conv, dilation=2), partial(conv, dilation=4))
    return replace(base, spatial=operators, strides=(1, 2, 1, 1), stem=DEEP_STEM, stem_width=128, neck=CrissCrossHead)


_MODULE = "the paper counts the attention alone, at 97 x 97 positions: 16.5 billion FLOPs, 2 a multiply-add; ours 16.52"
_PRINTED = Printed("cost of RCCA, R = 2", reason=_MODULE)

NETS = {
    "ccnet_resnet50": Net("ccnet", "CCNet on ResNet-50, R = 2.", _dilated(RESNET50), _PRINTED, IMAGENET),
    "ccnet_resnet101": Net("ccnet", "CCNet on ResNet-101, R = 2.", _dilated(RESNET101), _PRINTED, IMAGENET),
}
register(__name__, NETS, build, first_conv="conv1.0", classifier="fc")
