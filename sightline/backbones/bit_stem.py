"""The ResNet before a hybrid ViT ("BiT"): group normalisation and weight-standardised convolutions, TensorFlow's SAME padding.

    root    7 x 7 / 2, norm, ReLU, 3 x 3 / 2 max-pool        stages of bottlenecks, the second and later ones with stride 2
    weight  (w - mean) / (std + 1e-5) over input channels, rows and columns, per output channel

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1 and appendix B; Kolesnikov et al. 2020, "Big Transfer",
        arXiv 1912.11370; padding, eps and the zero start of the last normalisation as in Google's code. Names are those of timm's.
Legend: B batch, C channels, H W rows and columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.ops.precision import widen

GROUPS, EPS = 32, 1e-6
FORMS = {"google": EPS, "timm": 1e-5}  # form of the arithmetic -> eps of its group normalisation


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose weight is standardised on the fly, with SAME padding; (B, C, H, W) -> (B, C', ceil(H/s), ceil(W/s))."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, bias=False)
        self.form = "google"

    def forward(self, input: Tensor) -> Tensor:
        (weight,) = widen(self.weight)
        std, mean = torch.std_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
        spread = std + 1e-5 if self.form == "google" else (std**2 + 1e-8).sqrt()
        weight = ((weight - mean) / spread).to(self.weight.dtype)
        return F.conv2d(pad_same(input, self.kernel_size[0], self.stride[0]), weight, None, self.stride)


class StemBottleneck(nn.Module):
    """1 x 1, 3 x 3 with the stride, 1 x 1, norm after each, plus the shortcut; (B, C, H, W) -> (B, 4 * width, ...)."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = StandardisedConv2d(in_channels, width, 1), nn.GroupNorm(GROUPS, width, EPS)
        self.conv2, self.norm2 = StandardisedConv2d(width, width, 3, stride), nn.GroupNorm(GROUPS, width, EPS)
        self.conv3, self.norm3 = StandardisedConv2d(width, 4 * width, 1), nn.GroupNorm(GROUPS, 4 * width, EPS)
        nn.init.zeros_(self.norm3.weight)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_channels != 4 * width:
            self.downsample = _conv_norm(in_channels, 4 * width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.downsample(x) + self.norm3(self.conv3(y)))


class BitStem(nn.Module):
    """Image (B, in_chans, H, W) to features (B, channels, ceil(H / reduction), ceil(W / reduction)).

    Args:
        in_chans: image channels.
        layers: bottlenecks a stage; (3, 4, 9) is the paper's R50 with stage 4 moved into stage 3, reduction 16.
        width: channels of the root; the bottlenecks of a stage have width * 2^stage inner channels. A multiple of 32.

    Raises:
        ValueError: the width is not a multiple of 32, the number of groups.
    """

    def __init__(self, in_chans: int = 3, layers: tuple[int, ...] = (3, 4, 9), width: int = 64) -> None:
        super().__init__()
        if width < 1 or width % GROUPS:
            raise ValueError(f"width must be a multiple of the {GROUPS} groups of its normalisation; got {width}")
        self.stem = _conv_norm(in_chans, width, 7, 2)
        stages, channels = [], width
        for stage, depth in enumerate(layers):
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(StemBottleneck(channels, width * 2**stage, stride))
                channels = 4 * width * 2**stage
            stages.append(_named(blocks=nn.Sequential(*blocks)))
        self.stages = nn.Sequential(*stages)
        self.form = "google"
        self.channels = channels
        self.reduction = 4 * 2 ** max(len(layers) - 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.max_pool2d(pad_same(x, 3, 2, float("-inf")), 3, 2)
        return self.stages(x)

    def compute_as(self, form: str) -> None:
        """Take the small constants of "google" or "timm" (weights / sqrt(var + 1e-8), group normalisation with eps 1e-5).

        Raises:
            ValueError: an unknown form.
        """
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}; got {form!r}")
        self.form = form
        for module in self.modules():
            if isinstance(module, StandardisedConv2d):
                module.form = form
            elif isinstance(module, nn.GroupNorm):
                module.eps = FORMS[form]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the features of a height x width image."""
        return -(-height // self.reduction), -(-width // self.reduction)


def pad_same(x: Tensor, kernel_size: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad (B, C, H, W) so that the output has ceil(H / stride) rows; of an odd margin the smaller half comes first."""
    rows, cols = (max((-(-size // stride) - 1) * stride + kernel_size - size, 0) for size in x.shape[2:])
    return F.pad(x, (cols // 2, cols - cols // 2, rows // 2, rows - rows // 2), value=value)


def _conv_norm(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> nn.Sequential:
    conv = StandardisedConv2d(in_channels, out_channels, kernel_size, stride)
    return _named(conv=conv, norm=nn.GroupNorm(GROUPS, out_channels, EPS))


def _named(**modules: nn.Module) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, module in modules.items():
        sequence.add_module(name, module)
    return sequence
