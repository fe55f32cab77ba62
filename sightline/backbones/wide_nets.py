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
from timm.layers import DropPath, SEModule
from torch import Tensor, nn

from sightline.backbones import spatial
from sightline.backbones.catalogue import Net, Printed
from sightline.backbones.register import SMALL, register
from sightline.backbones.residual import Channelwise, Spatial, convolution
from sightline.backbones.stem import BARE_STEM
from sightline.backbones.trunk import TrunkConfig, build


class PreActivationBlock(nn.Module):
    """Norm, ReLU, spatial operator, norm, ReLU, 3 x 3, with a shortcut without parameters. (B, C, H, W) -> (B, C', H', W').

    `width` is not used: the block has no inner width.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        stride: int,
        grid: tuple[int, int],
        spatial: Spatial,
        drop_path: float = 0.0,
        gate: Channelwise | None = None,
        context: Channelwise | None = None,
    ) -> None:
        super().__init__()
        self.stride, self.added = stride, out_channels - in_channels
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = spatial(in_channels, out_channels, stride, grid)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = convolution(out_channels, out_channels, 3)
        self.se = gate(out_channels) if gate is not None else nn.Identity()
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.context = context(out_channels) if context is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        shortcut = x if self.stride == 1 and self.added == 0 else self._shortcut(y)
        y = self.conv2(F.relu(self.bn2(self.conv1(y))))
        return self.context(shortcut + self.drop_path(self.se(y)))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, self.stride, ceil_mode=True, count_include_pad=False)
        return F.pad(x, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))


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
