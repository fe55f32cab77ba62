"""Residual blocks with a spatial operator of choice: the bottleneck and the basic block of ResNet.

    bottleneck   relu(x' + norm(1 x 1(relu(norm(spatial(relu(norm(1 x 1(x)))))))))       x' = x, or norm(1 x 1(x))
    basic        relu(x' + norm(3 x 3(relu(norm(spatial(x))))))

Source: He et al. 2016, arXiv 1512.03385, section 3.3 and figure 5 (shortcut by 1 x 1 convolution where shapes change, "B").
Ours:   the stride sits on the spatial operator; the last normalisation of a block starts at zero, so that the block starts as its
        shortcut (Goyal et al. 2017, arXiv 1706.02677, section 5.1). Convolutions start He-normal, over their outputs.
Ours:   a gate (squeeze-and-excitation) acts on the branch before the sum, a context block on what the block returns.
Legend: B batch, C channels, H W rows and columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from timm.layers import DropPath
from torch import Tensor, nn

Channelwise = Callable[[int], nn.Module]  # from channels: (B, C, H, W) -> (B, C, H, W)


class Spatial(Protocol):
    """Make the spatial operator of a block: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""

    def __call__(self, in_channels: int, out_channels: int, stride: int, grid: tuple[int, int]) -> nn.Module:
        """`grid`: rows and columns of the operator's input at the image size the net is built for."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a residual block stands in its net, and what it is made of.

    Args:
        in_channels, out_channels: of the block.
        width: its inner channels; blocks without an inner width do not use it.
        stride: input pixels a step, in both axes.
        grid: rows and columns of the input at the image size the net is built for.
        spatial: makes the spatial operator.
        drop_path: probability of leaving the branch out.
        gate: made for the branch's output; None: no gate.
        context: made for what the block returns; None: none.
    """

    in_channels: int
    width: int
    out_channels: int
    stride: int
    grid: tuple[int, int]
    spatial: Spatial
    drop_path: float = 0.0
    gate: Channelwise | None = None
    context: Channelwise | None = None

    @property
    def keeps_shape(self) -> bool:
        """Whether input and output have one shape, so that the shortcut is the input."""
        return self.stride == 1 and self.in_channels == self.out_channels


class Block(nn.Module):
    """What residual blocks share: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""

    def _end(self, place: Place) -> None:
        """Make what comes after a branch. Called last: the weights before it are drawn first."""
        self.se = place.gate(place.out_channels) if place.gate is not None else nn.Identity()
        self.drop_path = DropPath(place.drop_path) if place.drop_path > 0 else nn.Identity()
        self.act = nn.ReLU(inplace=True)
        self.context = place.context(place.out_channels) if place.context is not None else nn.Identity()

    def _add(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        return self.drop_path(self.se(branch)) + shortcut


class Bottleneck(Block):
    """1 x 1, spatial operator, 1 x 1, with the shortcut; then an optional context block."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.conv1 = convolution(place.in_channels, place.width, 1)
        self.bn1 = nn.BatchNorm2d(place.width)
        self.conv2 = place.spatial(place.width, place.width, place.stride, place.grid)
        self.bn2 = nn.BatchNorm2d(place.width)
        self.conv3 = convolution(place.width, place.out_channels, 1)
        self.bn3 = nn.BatchNorm2d(place.out_channels)
        nn.init.zeros_(self.bn3.weight)
        self.downsample = _shortcut(place)
        self._end(place)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.act(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.context(self.act(self._add(y, self.downsample(x))))


class BasicBlock(Block):
    """Spatial operator, 3 x 3, with the shortcut; then an optional context block. It has no inner width."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.conv1 = place.spatial(place.in_channels, place.out_channels, place.stride, place.grid)
        self.bn1 = nn.BatchNorm2d(place.out_channels)
        self.conv2 = convolution(place.out_channels, place.out_channels, 3)
        self.bn2 = nn.BatchNorm2d(place.out_channels)
        nn.init.zeros_(self.bn2.weight)
        self.downsample = _shortcut(place)
        self._end(place)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.context(self.act(self._add(y, self.downsample(x))))


def convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A k x k convolution without bias that keeps the size but for the stride, He-initialised."""
    padding = kernel_size // 2 * dilation
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _shortcut(place: Place) -> nn.Module:
    if place.keeps_shape:
        return nn.Identity()
    projection = convolution(place.in_channels, place.out_channels, 1, place.stride)
    return nn.Sequential(projection, nn.BatchNorm2d(place.out_channels))
