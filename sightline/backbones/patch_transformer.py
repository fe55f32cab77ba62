"""ViT and DeiT by name: each net is one line of data.

The small nets, for images of 8 to 64 pixels, cut the image into 8 x 8 patches of at least 2 x 2 pixels.
Ours:   all of the small ones; the papers have no nets of this size. Weights start Xavier-uniform and positions at normal(0, 0.5):
        from the papers' 0.02 a net of 96 channels learns little in the few hundred steps small data allow.
"""

from dataclasses import replace
from typing import Any

from timm.models import build_model_with_cfg, register_model

from sightline.backbones.small import small_cfgs
from sightline.backbones.transformer_config import TransformerConfig
from sightline.backbones.transformer_net import PatchTransformer

MINI = TransformerConfig(96, 5, 4, patch_size=2, patches_across=8, init="google", position_std=0.5)

CONFIGS: dict[str, TransformerConfig] = {
    "vit_mini": MINI,
    "deit_mini_distilled": replace(MINI, distilled=True),
}

default_cfgs = small_cfgs(
    {name: ("head", "head_dist") if config.distilled else "head" for name, config in CONFIGS.items()},
    first_conv="patch_embed.proj",
)


def _build(name: str, pretrained: bool, options: dict[str, Any]) -> PatchTransformer:
    options.setdefault("img_size", 32)
    return build_model_with_cfg(
        PatchTransformer,
        name,
        pretrained,
        model_cfg=CONFIGS[name],
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **options,
    )


@register_model
def vit_mini(pretrained: bool = False, **options: Any) -> PatchTransformer:
    """A small Vision Transformer (arXiv 2010.11929): 5 blocks of 96 channels, 4 heads."""
    return _build("vit_mini", pretrained, options)


@register_model
def deit_mini_distilled(pretrained: bool = False, **options: Any) -> PatchTransformer:
    """`vit_mini` with DeiT's distillation token (arXiv 2012.12877)."""
    return _build("deit_mini_distilled", pretrained, options)
