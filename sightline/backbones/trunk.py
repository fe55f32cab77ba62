"""A residual trunk whose spatial operator is a callable: the convolutional twin and every net that replaces or joins it.

    stem -> stages of residual blocks -> (neck) -> average pool -> linear

Source: He et al. 2016, arXiv 1512.03385, table 1.
Ours:   module names are those of timm's and torchvision's ResNet (conv1, bn1, layer1 ..., fc).
Legend: B batch, C channels, H W rows and columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from timm.models import build_model_with_cfg
from torch import Tensor, nn

from sightline.backbones.layout import FasterLayout
from sightline.backbones.pooled_head import classifier, pool
from sightline.backbones.recompute import recomputed_in_turn
from sightline.backbones.residual import Block, Bottleneck, Channelwise, Place, Spatial
from sightline.backbones.stage_intermediates import StageIntermediates
from sightline.backbones.stem import CONV_STEM, Stem


@dataclass(frozen=True)
class TrunkConfig:
    """A trunk as data.

    Args:
        layers: blocks a stage.
        widths: inner channels a stage.
        spatial: spatial operator a stage.
        expansion: output channels over inner channels.
        outputs: output channels a stage; None: expansion * widths.
        strides: stride of the first block, a stage.
        block: kind of the blocks.
        stem: what reads the image.
        stem_width: channels of the stem.
        gate: made from the channels, for every block: acts on its branch before the sum.
        context: blocks added to the trunk, made from the channels: (stage, block) -> factory; applied after that block.
        neck: made from the channels, after the last stage; a module that tells its output `channels`.

    Raises:
        ValueError: a stage of `layers` has no width, operator, stride or output.
    """

    layers: tuple[int, ...]
    widths: tuple[int, ...]
    spatial: tuple[Spatial, ...]
    expansion: int = 4
    outputs: tuple[int, ...] | None = None
    strides: tuple[int, ...] = (1, 2, 2, 2)
    block: Callable[[Place], Block] = Bottleneck
    stem: Stem = CONV_STEM
    stem_width: int = 64
    gate: Channelwise | None = None
    context: tuple[tuple[tuple[int, int], Channelwise], ...] = ()
    neck: Callable[[int], Any] | None = None

    def __post_init__(self) -> None:
        for name in ("widths", "spatial", "strides", "outputs"):
            given = getattr(self, name)
            if given is not None and len(given) < len(self.layers):
                raise ValueError(
                    f"{name} must have a value for each of the {len(self.layers)} stages of layers; got {len(given)}"
                )

    def channels(self, stage: int) -> int:
        """Output channels of a stage."""
        return self.widths[stage] * self.expansion if self.outputs is None else self.outputs[stage]


class Trunk(StageIntermediates):
    """A residual net for image recognition, with timm's model conventions. Input (B, in_chans, H, W), any H and W.

    Args:
        config: the net as data.
        num_classes: outputs; 0 gives pooled features.
        in_chans: image channels.
        img_size: side, or rows and columns, the net is built for; only relative position tables of global attention depend
            on it, any other size still runs.
        global_pool: timm's pooling name ("avg", "max", ...), "" for none, with num_classes=0.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.

    Raises:
        ValueError: classes are asked for where nothing is pooled.
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
        self.num_classes, self.drop_rate, self.grad_checkpointing = num_classes, drop_rate, False
        stem, channels = config.stem, config.stem_width
        self.layout = FasterLayout()
        self.conv1 = stem.make(in_chans, channels)
        self.bn1 = nn.BatchNorm2d(channels) if stem.norm else nn.Identity()
        self.act1 = nn.ReLU(inplace=True) if stem.norm else nn.Identity()
        self.maxpool = stem.pool()
        self.feature_info = [{"num_chs": channels, "reduction": stem.stride, "module": "act1"}]
        reduction = stem.reduction
        grid = _shrink((img_size, img_size) if isinstance(img_size, int) else (img_size[0], img_size[1]), reduction)
        self.stages = [f"layer{stage + 1}" for stage in range(len(config.layers))]
        rates = iter(_linear(drop_path_rate, sum(config.layers)))
        for stage, name in enumerate(self.stages):
            drop_path = [next(rates) for _ in range(config.layers[stage])]
            self.add_module(name, _stage(config, stage, channels, grid, drop_path))
            channels, stride = config.channels(stage), config.strides[stage]
            grid, reduction = _shrink(grid, stride), reduction * stride
            self.feature_info.append({"num_chs": channels, "reduction": reduction, "module": name})
        neck = None if config.neck is None else config.neck(channels)
        self.neck: nn.Module = nn.Identity() if neck is None else neck
        if neck is not None:
            channels = neck.channels
            self.feature_info.append({"num_chs": channels, "reduction": reduction, "module": "neck"})
        self.num_features = self.head_hidden_size = channels
        self.global_pool = pool(global_pool)
        self.fc = classifier(channels, num_classes, self.global_pool)

    def forward_features(self, x: Tensor) -> Tensor:
        """The feature map (B, num_features, H', W') before pooling."""
        for level in self._levels():
            x = level(x)
        return x

    def _levels(self) -> list[Callable[[Tensor], Tensor]]:
        stages = [partial(self._stage, name) for name in self.stages]
        return [self._stem, *stages, *([] if isinstance(self.neck, nn.Identity) else [self.neck])]

    def _stem(self, x: Tensor) -> Tensor:
        return self.act1(self.bn1(self.conv1(self.layout(x))))

    def _stage(self, name: str, x: Tensor) -> Tensor:
        stage = getattr(self, name)
        x = self.maxpool(x) if name == "layer1" else x
        return recomputed_in_turn(stage, x) if self.grad_checkpointing and self.training else stage(x)

    def _cut(self, last: int) -> None:
        if last <= len(self.stages):
            self.neck = nn.Identity()
        for name in self.stages[last:]:
            delattr(self, name)
        self.stages = self.stages[:last]

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
        """Replace the classifier by a fresh one (0: none) and, when given, the pooling.

        Raises:
            ValueError: classes are asked for where nothing is pooled.
        """
        pooling = self.global_pool if global_pool is None else pool(global_pool)
        self.fc = classifier(self.num_features, num_classes, pooling).to(next(self.parameters()))
        self.global_pool, self.num_classes = pooling, num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups by depth, for layer-wise learning rates (timm's format)."""
        blocks = (r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)", None)
        return {"stem": r"^conv1|bn1", "blocks": [blocks, (r"^neck", (99999,))]}

    def no_weight_decay(self) -> set[str]:
        """Parameters that weight decay must spare: tables of relative positions and scalar gates."""
        spared = ("relative_rows", "relative_cols", "embed_rows", "embed_cols", "embed_mixtures", "gamma")
        return {name for name, _ in self.named_parameters() if name.endswith(spared)}


def build(name: str, config: TrunkConfig, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Make a trunk, or its pyramid of the stem and the stages when the options say `features_only`; for `register`."""
    features = {"out_indices": tuple(range(1 + len(config.layers) + (config.neck is not None)))}
    return build_model_with_cfg(partial(Trunk, config), name, pretrained, feature_cfg=features, **options)


def _stage(
    config: TrunkConfig, stage: int, channels: int, grid: tuple[int, int], drop_path: list[float]
) -> nn.Sequential:
    """Blocks of a stage whose input has these channels and, at the image size the net is built for, this grid."""
    context, blocks, stride = dict(config.context), [], config.strides[stage]
    for index, rate in enumerate(drop_path):
        width, out, added = config.widths[stage], config.channels(stage), context.get((stage, index))
        place = Place(channels, width, out, stride, grid, config.spatial[stage], rate, config.gate, added)
        blocks.append(config.block(place))
        channels, grid, stride = out, _shrink(grid, stride), 1
    return nn.Sequential(*blocks)


def _linear(last: float, count: int) -> list[float]:
    """Evenly spaced from 0 to last."""
    return [last * index / max(count - 1, 1) for index in range(count)]


def _shrink(grid: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-grid[0] // stride), -(-grid[1] // stride)
