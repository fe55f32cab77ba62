"""ViT and DeiT by name: each net is one line of data.

The small nets, for images of 8 to 64 pixels, cut the image into 8 x 8 patches of at least 2 x 2 pixels.
Ours:   all of the small ones; the papers have no nets of this size. Weights start Xavier-uniform and positions at normal(0, 0.5):
        from the papers' 0.02 a net of 96 channels learns little in the few hundred steps small data allow.
"""

from dataclasses import replace
from typing import Any

from timm.models import build_model_with_cfg
from torch import nn

from sightline.backbones.catalogue import Net
from sightline.backbones.register import SMALL, register
from sightline.backbones.transformer_config import TransformerConfig
from sightline.backbones.transformer_net import PatchTransformer

MINI = TransformerConfig(96, 5, 4, patch_size=2, patches_across=8, init="google", position_std=0.5)

HYBRID = TransformerConfig(
    128,
    3,
    4,
    patch_size=2,
    hidden=256,
    stem=(1, 2),
    stem_kind="residual",
    stem_width=32,
    init="google",
    position_std=0.5,
)
COMPACT = replace(HYBRID, dim=256, depth=7, patch_size=1, hidden=512, position_std=0.02)
FIRST = {"first_conv": "patch_embed.backbone.conv1"}
TWO_HEADS = {"classifier": ("head", "head_dist")}

NETS = {
    "vit_mini": Net("vit", "A small Vision Transformer: 5 blocks of 96 channels, 4 heads.", MINI, cfg=SMALL),
    "deit_mini_distilled": Net(
        "deit",
        "`vit_mini` with DeiT's distillation token.",
        replace(MINI, distilled=True),
        cfg=SMALL | TWO_HEADS,
    ),
    "vit_mini_hybrid": Net(
        "vit",
        "A small hybrid: the twin's first two stages, then 3 transformer blocks of 128 channels, 4 heads.",
        HYBRID,
        cfg=SMALL | FIRST,
    ),
    "deit_mini_hybrid_distilled": Net(
        "deit",
        "`vit_mini_hybrid` with DeiT's distillation token.",
        replace(HYBRID, distilled=True),
        cfg=SMALL | FIRST | TWO_HEADS,
    ),
    "vit_compact": Net(
        "vit",
        "A hybrid for small images and long training: the twin's first two stages, then 7 blocks of 256 channels on 2 x 2 pixels.",
        COMPACT,
        cfg=SMALL | FIRST,
    ),
    "deit_compact_distilled": Net(
        "deit",
        "`vit_compact` with DeiT's distillation token.",
        replace(COMPACT, distilled=True),
        cfg=SMALL | FIRST | TWO_HEADS,
    ),
}


def build(name: str, config: TransformerConfig, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Make a ViT or DeiT, or the grids of its last three blocks when the options say `features_only`; for `register`."""
    features = {"out_indices": min(3, config.depth), "feature_cls": "getter"}
    return build_model_with_cfg(PatchTransformer, name, pretrained, model_cfg=config, feature_cfg=features, **options)


register(__name__, NETS, build, first_conv="patch_embed.proj", classifier="head")
