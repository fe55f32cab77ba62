"""timm's ViT and DeiT, every size and patch, distilled or not, hybrids: the names are ours. DeiT's own files have them too."""

from sightline.weights.formats.format import TRANSFORMER, Format

MARKS = (r"^patch_embed\.proj\.weight$", r"^blocks\.0\.norm1\.weight$")

TIMM_VIT = Format("timm ViT", TRANSFORMER, MARKS, resize="bicubic_antialias", gelu="erf", norm_eps=1e-6, stem="timm")
DEIT = Format("DeiT's authors", TRANSFORMER, MARKS, resize="bicubic", gelu="erf", norm_eps=1e-6)
