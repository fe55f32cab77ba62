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
from typing import Protocol

from timm.layers import DropPath
from torch import Tensor, nn

Channelwise = Callable[[int], nn.Module]  # from channels: (B, C, H, W) -> (B, C, H, W)


class Spatial(Protocol):
    """Make the spatial operator of a block: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""

    def __call__(self, in_channels: int, out_channels: int, stride: int, grid: tuple[int, int]) -> nn.Module:
        """`grid`: rows and columns of the operator's input at the image size the net is built for."""
        ...


class Block(Protocol):
    """Make a residual block: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""

    def __call__(
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
    ) -> nn.Module:
        """`width`: inner channels; `grid`: rows and columns of the input at the image size the net is built for."""
        ...


class Bottleneck(nn.Module):
    """1 x 1, spatial operator, 1 x 1, with the shortcut; then an optional context block. (B, C, H, W) -> (B, C', H', W')."""

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
        self.conv1 = convolution(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = spatial(width, width, stride, grid)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.bn3.weight)
        self.downsample = _shortcut(in_channels, out_channels, stride)
        self.se = gate(out_channels) if gate is not None else nn.Identity()
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.act = nn.ReLU(inplace=True)
        self.context = context(out_channels) if context is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.act(self.bn2(self.conv2(y)))
        y = self.drop_path(self.se(self.bn3(self.conv3(y))))
        return self.context(self.act(y + self.downsample(x)))


class BasicBlock(nn.Module):
    """Spatial operator, 3 x 3, with the shortcut; then an optional context block. `width` is not used: it has no inner width."""

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
        self.conv1 = spatial(in_channels, out_channels, stride, grid)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = convolution(out_channels, out_channels, 3)
        self.bn2 = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.bn2.weight)
        self.downsample = _shortcut(in_channels, out_channels, stride)
        self.se = gate(out_channels) if gate is not None else nn.Identity()
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.act = nn.ReLU(inplace=True)
        self.context = context(out_channels) if context is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.drop_path(self.se(self.bn2(self.conv2(y))))
        return self.context(self.act(y + self.downsample(x)))


def convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A k x k convolution without bias that keeps the size but for the stride, He-initialised."""
    padding = kernel_size // 2 * dilation
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))
