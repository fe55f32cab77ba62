"""The paper's DeiTs: three sizes, plain and distilled, for images of 224 and 384.

    deit_s16                DeiT-S: ViT-S/16 with DeiT's starting weights and bicubic positions
    deit_s16_distilled      with the distillation token and its head
    deit_s16_384            built for images of 384 x 384, as for fine-tuning; deit_s16_distilled_384 with the token

Source: Touvron et al. 2021, arXiv 2012.12877, table 1; sizes and eye at test time (a bicubic resize to 256, its centre) as in
        the authors' code.
"""

from collections.abc import Iterator
from dataclasses import replace

from sightline.backbones.catalogue import Net, Printed
from sightline.backbones.patch_transformer import build
from sightline.backbones.register import IMAGENET, register
from sightline.backbones.transformer_config import TransformerConfig

SIZES = {"ti": (192, 12, 3), "s": (384, 12, 6), "b": (768, 12, 12)}
EYE = IMAGENET | {"interpolation": "bicubic"}
TWO_HEADS = {"classifier": ("head", "head_dist")}

_WHOLE = "the table prints whole millions, cut, not rounded"
PRINTED = {
    "deit_ti16": Printed("table 1", "5", reason=_WHOLE),
    "deit_s16": Printed("table 1", "22"),
    "deit_b16": Printed("table 1", "86", reason=_WHOLE),
}


def _nets() -> Iterator[tuple[str, Net]]:
    for size, shape in SIZES.items():
        name, about = f"deit_{size}16", f"DeiT-{size.capitalize()}"
        plain = TransformerConfig(*shape)
        for suffix, made, cfg, words in (
            ("", plain, EYE, ""),
            ("_distilled", replace(plain, distilled=True), EYE | TWO_HEADS, " with the distillation token"),
        ):
            larger = cfg | {"input_size": (3, 384, 384)}
            yield name + suffix, Net("deit", f"{about}{words}.", made, PRINTED.get(name + suffix), cfg)
            yield f"{name}{suffix}_384", Net("deit", f"{about}{words} for images of 384 x 384.", made, cfg=larger)


NETS = dict(_nets())
register(__name__, NETS, build, first_conv="patch_embed.proj", classifier="head")
