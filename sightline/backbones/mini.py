"""Small residual nets for images of 8 to 64 pixels: the convolutional twin, and five that replace or join its operator.

Stages at 1, 1/2 and 1/4 of the input. The twin has 3 x 3 convolutions; SASA and LR-Net replace all of them, AA those of the
last two stages (as the papers do), Non-local and CCNet keep them and add one block in the middle stage.
Ours: all of it; the papers have no nets of this size. Windows are 5 x 5, heads 4, so that 32 channels give 8 a head.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, register_model
from torch import nn

from sightline.backbones import spatial
from sightline.backbones.small import small_cfgs
from sightline.backbones.trunk import Trunk, TrunkConfig
from sightline.layers import CrissCrossAttention, NonLocalBlock2d

_conv = spatial.convolution
_augmented = partial(spatial.attention_augmented, key_ratio=0.5, value_ratio=0.25, heads=4, least_key_depth=4)

TWIN = TrunkConfig((1, 2, 2), (32, 64, 128), (_conv,) * 3, expansion=2, stem="3x3", stem_width=32)


def _everywhere(operator: spatial.Spatial) -> TrunkConfig:
    return replace(TWIN, spatial=(operator,) * 3)


def _joined(block: Callable[[int], nn.Module]) -> TrunkConfig:
    return replace(TWIN, context=(((1, 0), block),))


CONFIGS: dict[str, TrunkConfig] = {
    "resnet_mini": TWIN,
    "nonlocal_resnet_mini": _joined(NonLocalBlock2d),
    "ccnet_resnet_mini": _joined(CrissCrossAttention),
    "sasa_resnet_mini": _everywhere(partial(spatial.sasa, kernel_size=5, heads=4)),
    "lrnet_mini": _everywhere(partial(spatial.local_relation, kernel_size=5)),
    "aa_resnet_mini": replace(TWIN, spatial=(_conv, _augmented, _augmented)),
}

default_cfgs = small_cfgs(dict.fromkeys(CONFIGS, "fc"), first_conv="conv1")


def _build(name: str, pretrained: bool, options: dict[str, Any]) -> Trunk:
    options.setdefault("img_size", 32)
    features = {"out_indices": (0, 1, 2, 3)}  # the stem and the stages
    return build_model_with_cfg(partial(Trunk, CONFIGS[name]), name, pretrained, feature_cfg=features, **options)


@register_model
def resnet_mini(pretrained: bool = False, **options: Any) -> Trunk:
    """The convolutional twin all small nets are measured against."""
    return _build("resnet_mini", pretrained, options)


@register_model
def nonlocal_resnet_mini(pretrained: bool = False, **options: Any) -> Trunk:
    """The twin with one non-local block in the middle stage (arXiv 1711.07971)."""
    return _build("nonlocal_resnet_mini", pretrained, options)


@register_model
def ccnet_resnet_mini(pretrained: bool = False, **options: Any) -> Trunk:
    """The twin with recurrent criss-cross attention, R = 2, in the middle stage (arXiv 1811.11721)."""
    return _build("ccnet_resnet_mini", pretrained, options)


@register_model
def sasa_resnet_mini(pretrained: bool = False, **options: Any) -> Trunk:
    """The twin with stand-alone self-attention for its 3 x 3 convolutions (arXiv 1906.05909)."""
    return _build("sasa_resnet_mini", pretrained, options)


@register_model
def lrnet_mini(pretrained: bool = False, **options: Any) -> Trunk:
    """The twin with local relation layers for its 3 x 3 convolutions (arXiv 1904.11491)."""
    return _build("lrnet_mini", pretrained, options)


@register_model
def aa_resnet_mini(pretrained: bool = False, **options: Any) -> Trunk:
    """The twin with attention-augmented convolutions in its last two stages (arXiv 1904.09925)."""
    return _build("aa_resnet_mini", pretrained, options)
