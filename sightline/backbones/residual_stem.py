"""The small ResNet before a small hybrid ViT: the convolutional twin's stem and first stages.

    3 x 3, norm, ReLU       stages of bottlenecks with 3 x 3 convolutions, the second and later ones with stride 2

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1, "Hybrid Architecture": patches are cut from a ResNet's features.
Ours:   all sizes, and batch normalisation; the paper's stem, `BitStem`, is made for images of 224 pixels and starts with a quarter
        of their rows.
Ours:   names are the trunk's, so that the weights of a trained twin fit.
Legend: B batch, H W rows and columns.
"""

from torch import Tensor, nn

from sightline.backbones import spatial
from sightline.backbones.residual import Bottleneck, Place
from sightline.backbones.stem import SMALL_STEM

EXPANSION = 2


class ResidualStem(nn.Module):
    """Image (B, in_chans, H, W) to features (B, channels, ceil(H / reduction), ceil(W / reduction)).

    Args:
        in_chans: image channels.
        layers: bottlenecks a stage.
        width: channels of the root; the bottlenecks of a stage have width * 2^stage inner channels and twice as many outputs.
    """

    def __init__(self, in_chans: int = 3, layers: tuple[int, ...] = (1, 2), width: int = 32) -> None:
        super().__init__()
        self.conv1 = SMALL_STEM.make(in_chans, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU(inplace=True)
        channels = width
        for stage, depth in enumerate(layers):
            inner = width * 2**stage
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                place = Place(channels, inner, EXPANSION * inner, stride, (1, 1), spatial.convolution)
                blocks.append(Bottleneck(place))
                channels = EXPANSION * inner
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = [f"layer{stage + 1}" for stage in range(len(layers))]
        self.channels = channels
        self.reduction = 2 ** max(len(layers) - 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv1(x)))
        for name in self.stages:
            x = getattr(self, name)(x)
        return x

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the features of a height x width image."""
        return -(-height // self.reduction), -(-width // self.reduction)
