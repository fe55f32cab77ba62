"""SAN: a net whose every spatial step is vector self-attention or 2 x 2 pooling; all else is 1 x 1.

    stem     1 x 1, norm, ReLU
    stage    2 x 2 max-pool, 1 x 1, blocks, norm, ReLU
    block    x + linear(relu(norm(attention(relu(norm(x))))))

Source: Zhao et al. 2020, arXiv 2004.13621, section 4 and table 2; pre-activation, biases and norms as in the authors' code.
        `SANConfig(layers)` is the paper's net: SAN10 has layers (2, 1, 2, 4, 1), SAN15 (3, 2, 3, 5, 2), SAN19 (3, 3, 4, 6, 3).
Ours:   pooling keeps a dimension that is down to one row or column, so that any H x W passes.
Ours:   the small nets, for images of 8 to 64 pixels: stages at 1, 1/2 and 1/4 of the input, footprints 3, 5, 5.
Legend: B batch, C channels, H W rows and columns.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from timm.models import build_model_with_cfg
from torch import Tensor, nn

from sightline.backbones.catalogue import Net
from sightline.backbones.pooled_head import classifier, pool
from sightline.backbones.recompute import recomputed_in_turn
from sightline.backbones.register import SMALL, register
from sightline.backbones.stage_intermediates import StageIntermediates
from sightline.layers import PairwiseSelfAttention2d, PatchwiseSelfAttention2d


class Attention(Protocol):
    """Make a block's attention: (B, in_channels, H, W) -> (B, out_channels, H, W). Both layers of SAN do, and a partial of one."""

    def __call__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, rel_channels: int, share: int
    ) -> nn.Module:
        """See `sightline.layers.PairwiseSelfAttention2d`."""
        ...


@dataclass(frozen=True)
class SANConfig:
    """A SAN as data.

    Args:
        layers: blocks a stage.
        attention: the layer in every block; a partial sets its relation, mapping depth, position encoding or border.
        widths: channels a stage.
        kernels: footprint side a stage.
        strides: pooling before a stage; 1: none.
        rel_ratio: channels over query and key channels (r1).
        value_ratio: channels over value channels (r2).
        share: channels that have one attention weight.
        stem_width: channels of the stem.

    Raises:
        ValueError: a stage of `layers` has no width, kernel or stride, or there are more widths.
    """

    layers: tuple[int, ...]
    attention: Attention = PairwiseSelfAttention2d
    widths: tuple[int, ...] = (64, 256, 512, 1024, 2048)
    kernels: tuple[int, ...] = (3, 7, 7, 7, 7)
    strides: tuple[int, ...] = (2, 2, 2, 2, 2)
    rel_ratio: int = 16
    value_ratio: int = 4
    share: int = 8
    stem_width: int = 64

    def __post_init__(self) -> None:
        stages = len(self.layers)
        if len(self.widths) != stages or min(len(self.kernels), len(self.strides)) < stages:
            raise ValueError(
                f"widths, kernels and strides must have a value for each of the {stages} stages of layers; "
                f"got {len(self.widths)}, {len(self.kernels)} and {len(self.strides)}"
            )


class SANBlock(nn.Module):
    """Norm, ReLU, attention, norm, ReLU, linear, plus the shortcut. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, kernel_size: int, config: SANConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        inner = channels // config.value_ratio
        self.norm1 = nn.BatchNorm2d(channels)
        self.attention = config.attention(
            channels, inner, kernel_size, rel_channels=channels // config.rel_ratio, share=config.share
        )
        self.norm2 = nn.BatchNorm2d(inner)
        self.linear = nn.Conv2d(inner, channels, 1)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(F.relu(self.norm1(x), inplace=True))
        return self.drop_path(self.linear(F.relu(self.norm2(y), inplace=True))).add_(x)


class SANStage(nn.Module):
    """Transition (pooling, 1 x 1), blocks, norm and ReLU. (B, C, H, W) -> (B, C', H / stride, W / stride), rounded down."""

    def __init__(self, in_channels: int, stage: int, config: SANConfig, drop_path: list[float]) -> None:
        super().__init__()
        width, kernel_size = config.widths[stage], config.kernels[stage]
        self.stride = config.strides[stage]
        self.transition = nn.Conv2d(in_channels, width, 1, bias=False)
        self.blocks = nn.Sequential(*[SANBlock(width, kernel_size, config, rate) for rate in drop_path])
        self.norm = nn.BatchNorm2d(width)
        self.grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = F.max_pool2d(x, (min(self.stride, x.shape[2]), min(self.stride, x.shape[3])))
        x = self.transition(x)
        x = recomputed_in_turn(self.blocks, x) if self.grad_checkpointing and self.training else self.blocks(x)
        return F.relu(self.norm(x), inplace=True)


class SAN(StageIntermediates):
    """A SAN for image recognition, with timm's model conventions. Input (B, in_chans, H, W), any H and W.

    Args:
        cfg: the net as data.
        num_classes: outputs; 0 gives pooled features.
        in_chans: image channels.
        img_size: accepted as every small net does; no part of this one depends on it.
        global_pool: timm's pooling name ("avg", "max", ...), "" for none, with num_classes=0.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.

    Raises:
        ValueError: classes are asked for where nothing is pooled.
    """

    def __init__(
        self,
        cfg: SANConfig,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | tuple[int, int] | None = None,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.drop_rate = num_classes, drop_rate
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, cfg.stem_width, 1, bias=False), nn.BatchNorm2d(cfg.stem_width), nn.ReLU(inplace=True)
        )
        self.feature_info = [{"num_chs": cfg.stem_width, "reduction": 1, "module": "stem.2"}]
        rates = torch.linspace(0, drop_path_rate, sum(cfg.layers), device="cpu").split(list(cfg.layers))
        stages, channels, reduction = [], cfg.stem_width, 1
        for stage, width in enumerate(cfg.widths):
            stages.append(SANStage(channels, stage, cfg, rates[stage].tolist()))
            channels, reduction = width, reduction * cfg.strides[stage]
            self.feature_info.append({"num_chs": width, "reduction": reduction, "module": f"stages.{stage}"})
        self.stages = nn.Sequential(*stages)
        self.num_features = self.head_hidden_size = channels
        self.global_pool = pool(global_pool)
        self.head = classifier(channels, num_classes, self.global_pool)

    def forward_features(self, x: Tensor) -> Tensor:
        """The feature map (B, num_features, H', W') before pooling."""
        return self.stages(self.stem(x))

    def _levels(self) -> list[Callable[[Tensor], Tensor]]:
        return [self.stem, *self.stages]

    def _cut(self, last: int) -> None:
        self.stages = self.stages[:last]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, num_classes) of a feature map; the pooled features when pre_logits."""
        x = F.dropout(self.global_pool(x), self.drop_rate, self.training)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The classifier module."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a fresh one (0: none) and, when given, the pooling.

        Raises:
            ValueError: classes are asked for where nothing is pooled.
        """
        pooling = self.global_pool if global_pool is None else pool(global_pool)
        self.head = classifier(self.num_features, num_classes, pooling).to(next(self.parameters()))
        self.global_pool, self.num_classes = pooling, num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        for module in self.modules():  # a stage may stand inside what `insert_blocks` put in its place
            if isinstance(module, SANStage):
                module.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups by depth, for layer-wise learning rates (timm's format)."""
        if coarse:
            return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}
        last = (99,)
        fine = [
            (r"^stages\.(\d+)\.transition", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^stages\.(\d+)\.norm", last),
        ]
        return {"stem": r"^stem", "blocks": fine}

    def no_weight_decay(self) -> set[str]:
        """Parameters that weight decay must spare: none, as in the paper."""
        return set()


_MINI = SANConfig((1, 2, 2), widths=(96, 192, 512), kernels=(3, 5, 5), strides=(1, 2, 2))

NETS = {
    "san_mini_pairwise": Net("san", "A small SAN with pairwise self-attention.", _MINI, cfg=SMALL),
    "san_mini_patchwise": Net(
        "san",
        "A small SAN with patchwise self-attention.",
        replace(_MINI, attention=PatchwiseSelfAttention2d),
        cfg=SMALL,
    ),
}


def build(name: str, config: SANConfig, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Make a SAN, or its pyramid of the stem and the stages when the options say `features_only`; for `register`."""
    features = {"out_indices": tuple(range(len(config.layers) + 1)), "flatten_sequential": True}
    return build_model_with_cfg(SAN, name, pretrained, model_cfg=config, feature_cfg=features, **options)


register(__name__, NETS, build, first_conv="stem.0", classifier="head")
