"""The paper's ViTs: five sizes, three patches, class token or mean, hybrids, and larger images for fine-tuning.

    vit_b16         ViT-B/16: base size, patches of 16 x 16 pixels, class token, images of 224 x 224
    vit_b16_gap     the classifier reads the mean of the patches, there is no class token
    vit_b16_384     built for images of 384 x 384, as for fine-tuning
    vit_b16_2d      positions of another kind or place, see `sightline.backbones.transformer_positions`
    vit_b16_r50     hybrid: a ResNet-50 whose features, one per 16 x 16 pixels, are the patches

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, table 1 (B, L, H), section 3.1 (hybrids), table 8 (positions),
        table 2 (fine-tuning at 512 and 518);
        sizes Ti and S, and ResNet-26 stems: Steiner et al. 2022, arXiv 2106.10270, table 2. Stems of ResNet-50 have stages of
        (3, 4, 6, 3) bottlenecks at stride 32; at stride 16 the fourth stage's blocks join the third, (3, 4, 9). Starting weights,
        tanh GELU, bilinear positions and the eye at test time (a plain resize, no crop) are those of Google's code.
Ours:   sizes the patch does not divide are padded; Google's code drops the rest (`border="drop"`). Nets that no source trained
        (Ti/32, H/32 and the like) are here because sizes and patches combine freely.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sightline.backbones.catalogue import Net, Printed
from sightline.backbones.patch_transformer import build
from sightline.backbones.register import IMAGENET, register
from sightline.backbones.transformer_config import GOOGLE, TransformerConfig

SIZES = {"ti": (192, 12, 3), "s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16), "h": (1280, 32, 16)}
PATCHES = (32, 16, 14)
LARGER = {"vit_l16": 512, "vit_h14": 518}  # beside 384, which 14 does not divide
STEMS = {(16, "r50"): (3, 4, 9), (32, "r50"): (3, 4, 6, 3), (32, "r26"): (2, 2, 2, 2)}
HYBRIDS = (("b", 16, "r50"), ("b", 32, "r50"), ("l", 16, "r50"), ("l", 32, "r50"), ("s", 32, "r26"), ("b", 32, "r26"))
POSITIONS = (  # table 8 beside ViT's own, "1d" at the "stem"
    ("no_position", "none", "stem"),
    ("1d_layers", "1d", "layers"),
    ("1d_shared", "1d", "shared"),
    ("2d", "2d", "stem"),
    ("2d_layers", "2d", "layers"),
    ("2d_shared", "2d", "shared"),
    ("relative", "relative", "layers"),
)
FIRST = {"first_conv": "patch_embed.backbone.stem.conv"}
EYE = IMAGENET | {"mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 1.0, "crop_mode": "squash"}

_HEADLESS = "the table prints the net without its classifier"
_L32 = "the table names no patch; 307 is L/32 with its classifier"
PRINTED = {
    "vit_b16": Printed("table 1", "86", reason=_HEADLESS),
    "vit_l16": Printed("table 1", "307", reason=_L32),
    "vit_l32": Printed("table 1", "307"),
    "vit_h14": Printed("table 1", "632"),
}


def config(size: str, patch: int, **changes: Any) -> TransformerConfig:
    """A ViT of a size and patch."""
    return replace(TransformerConfig(*SIZES[size], patch, **GOOGLE), **changes)


def _plain() -> Iterator[tuple[str, Net]]:
    for size in SIZES:
        for patch in PATCHES:
            name, about = f"vit_{size}{patch}", f"ViT-{size.capitalize()}/{patch}"
            yield name, Net("vit", f"{about}.", config(size, patch), PRINTED.get(name), EYE)
            mean = config(size, patch, class_token=False)
            yield f"{name}_gap", Net("vit", f"{about} that classifies the mean of its patches.", mean, cfg=EYE)
            larger = LARGER.get(name, 384)
            if patch != 14:
                yield f"{name}_384", _at(384, about, config(size, patch))
            if larger != 384:
                yield f"{name}_{larger}", _at(larger, about, config(size, patch))


def _hybrids() -> Iterator[tuple[str, Net]]:
    for size, patch, stem in HYBRIDS:
        name, about = f"vit_{size}{patch}_{stem}", f"{stem.upper()}+ViT-{size.capitalize()}/{patch}"
        hybrid = config(size, 1, stem=STEMS[patch, stem])
        yield name, Net("vit", f"{about}: a ResNet before ViT-{size.capitalize()}.", hybrid, cfg=EYE | FIRST)
        yield f"{name}_384", _at(384, about, hybrid, FIRST)


def _positions() -> Iterator[tuple[str, Net]]:
    for suffix, kind, place in POSITIONS:
        words = f"ViT-B/16 with positions {kind!r} at {place!r}."
        made = config("b", 16, positions=kind, positions_at=place)
        yield f"vit_b16_{suffix}", Net("vit", words, made, cfg=EYE)


def _at(side: int, about: str, made: TransformerConfig, cfg: dict[str, Any] = EYE) -> Net:
    return Net("vit", f"{about} for images of {side} x {side}.", made, cfg=EYE | cfg | {"input_size": (3, side, side)})


NETS = dict([*_plain(), *_positions(), *_hybrids()])
register(__name__, NETS, build, first_conv="patch_embed.proj", classifier="head")
