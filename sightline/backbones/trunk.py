"""A residual trunk whose spatial operator is a callable: the convolutional twin and every net that replaces or joins it.

    stem -> stages of bottlenecks -> average pool -> linear;   bottleneck: 1 x 1, spatial operator, 1 x 1, plus the shortcut

Source: He et al. 2016, arXiv 1512.03385, section 4 (bottleneck, shortcut by 1 x 1 convolution where shapes change).
Ours:   the stride sits on the spatial operator; the last normalisation of a bottleneck starts at zero, so that it starts as its
        shortcut. Module names are those of timm's and torchvision's ResNet (conv1, bn1, layer1 ..., fc).
Legend: B batch, C channels, H W rows and columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from timm.layers import DropPath, SelectAdaptivePool2d
from timm.models import build_model_with_cfg, checkpoint_seq
from torch import Tensor, nn


class Spatial(Protocol):
    """Make the spatial operator of a bottleneck: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""

    def __call__(self, in_channels: int, out_channels: int, stride: int, grid: tuple[int, int]) -> nn.Module:
        """`grid`: rows and columns of the operator's input at the image size the net is built for."""
        ...


@dataclass(frozen=True)
class TrunkConfig:
    """A trunk as data.

    Args:
        layers: bottlenecks a stage.
        widths: inner channels a stage.
        spatial: spatial operator a stage.
        expansion: output channels over inner channels.
        stem: "3x3" keeps the resolution (images of 8 to 64 pixels); "7x7" is the ImageNet stem, stride 4 in all.
        stem_width: channels of the stem.
        context: blocks added to the trunk, made from the channels: (stage, bottleneck) -> factory; applied after that bottleneck.
    """

    layers: tuple[int, ...]
    widths: tuple[int, ...]
    spatial: tuple[Spatial, ...]
    expansion: int = 4
    stem: str = "7x7"
    stem_width: int = 64
    context: tuple[tuple[tuple[int, int], Callable[[int], nn.Module]], ...] = ()


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
        context: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = pointwise(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = spatial(width, width, stride, grid)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = pointwise(width, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.bn3.weight)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(pointwise(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.act = nn.ReLU(inplace=True)
        self.context = context(out_channels) if context is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.act(self.bn2(self.conv2(y)))
        y = self.drop_path(self.bn3(self.conv3(y)))
        return self.context(self.act(y + self.downsample(x)))


class Trunk(nn.Module):
    """A residual net for image recognition, with timm's model conventions. Input (B, in_chans, H, W), any H and W.

    Args:
        config: the net as data.
        num_classes: outputs; 0 gives pooled features.
        in_chans: image channels.
        img_size: side, or rows and columns, the net is built for; only relative position tables of global attention depend
            on it, any other size still runs.
        global_pool: timm's pooling name ("avg", "max", ...), "" for none.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last bottleneck, growing linearly from 0.
    """

    def __init__(
        self,
        config: TrunkConfig,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 224,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if config.stem not in ("3x3", "7x7"):
            raise ValueError(f"stem must be '3x3' or '7x7'; got {config.stem!r}")
        self.num_classes, self.drop_rate, self.grad_checkpointing = num_classes, drop_rate, False
        grid = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        large = config.stem == "7x7"
        self.conv1 = nn.Conv2d(
            in_chans, config.stem_width, 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False
        )
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = nn.BatchNorm2d(config.stem_width)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        reduction = 4 if large else 1
        self.feature_info = [{"num_chs": config.stem_width, "reduction": 2 if large else 1, "module": "act1"}]
        channels, grid = config.stem_width, _shrink(grid, reduction)
        self.stages = [f"layer{stage + 1}" for stage in range(len(config.layers))]
        rates = iter(_linear(drop_path_rate, sum(config.layers)))
        for stage, name in enumerate(self.stages):
            stride = 1 if stage == 0 else 2
            self.add_module(
                name, _stage(config, stage, channels, stride, grid, [next(rates) for _ in range(config.layers[stage])])
            )
            channels, grid, reduction = (
                config.widths[stage] * config.expansion,
                _shrink(grid, stride),
                reduction * stride,
            )
            self.feature_info.append({"num_chs": channels, "reduction": reduction, "module": name})
        self.num_features = self.head_hidden_size = channels
        self.global_pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=bool(global_pool))
        self.fc = nn.Linear(channels, num_classes) if num_classes > 0 else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """The feature map (B, num_features, H', W') before pooling."""
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        for name in self.stages:
            stage = getattr(self, name)
            x = checkpoint_seq(stage, x) if self.grad_checkpointing and self.training else stage(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, num_classes) of a feature map; the pooled features when pre_logits."""
        x = nn.functional.dropout(self.global_pool(x), self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The classifier module."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a fresh one (0: none) and, when given, the pooling."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=bool(global_pool))
        reference = self.conv1.weight
        head = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()
        self.fc = head.to(device=reference.device, dtype=reference.dtype)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each bottleneck in the backward pass instead of keeping its activations."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups by depth, for layer-wise learning rates (timm's format)."""
        return {"stem": r"^conv1|bn1", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}

    def no_weight_decay(self) -> set[str]:
        """Parameters that weight decay must spare: tables of relative positions and scalar gates."""
        spared = ("relative_rows", "relative_cols", "embed_rows", "embed_cols", "embed_mixtures", "gamma")
        return {name for name, _ in self.named_parameters() if name.endswith(spared)}


def pointwise(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 1 x 1 convolution without bias, He-initialised."""
    conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _linear(last: float, count: int) -> list[float]:
    """Evenly spaced from 0 to last."""
    return [last * index / max(count - 1, 1) for index in range(count)]


def _shrink(grid: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-grid[0] // stride), -(-grid[1] // stride)


def _stage(
    config: TrunkConfig, stage: int, channels: int, stride: int, grid: tuple[int, int], rates: list[float]
) -> nn.Sequential:
    width, context = config.widths[stage], dict(config.context)
    blocks = []
    for index, rate in enumerate(rates):
        first = index == 0
        blocks.append(
            Bottleneck(
                channels if first else width * config.expansion,
                width,
                width * config.expansion,
                stride if first else 1,
                grid if first else _shrink(grid, stride),
                config.spatial[stage],
                rate,
                context.get((stage, index)),
            )
        )
    return nn.Sequential(*blocks)


def build(name: str, config: TrunkConfig, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Make a trunk, or its pyramid of the stem and the stages when the options say `features_only`; for `register`."""
    features = {"out_indices": tuple(range(len(config.layers) + 1))}
    return build_model_with_cfg(partial(Trunk, config), name, pretrained, feature_cfg=features, **options)
