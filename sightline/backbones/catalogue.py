"""The catalogue: which nets there are, and the family and paper of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from types import MappingProxyType


@dataclass(frozen=True)
class Family:
    """A family of nets: its name, the paper it comes from, the op it computes ("" for convolution)."""

    name: str
    paper: str
    arxiv: str
    op: str


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "convolution": Family("Convolution", "Deep Residual Learning for Image Recognition", "1512.03385", ""),
        "nonlocal": Family("Non-local", "Non-local Neural Networks", "1711.07971", "pairwise_attention"),
        "ccnet": Family(
            "CCNet", "CCNet: Criss-Cross Attention for Semantic Segmentation", "1811.11721", "criss_cross_attention"
        ),
        "sasa": Family("SASA", "Stand-Alone Self-Attention in Vision Models", "1906.05909", "local_attention"),
        "lrnet": Family("LR-Net", "Local Relation Networks for Image Recognition", "1904.11491", "local_relation"),
        "aa": Family("AA", "Attention Augmented Convolutional Networks", "1904.09925", "global_attention"),
        "san": Family("SAN", "Exploring Self-attention for Image Recognition", "2004.13621", "vector_attention"),
        "vit": Family("ViT", "An Image is Worth 16x16 Words", "2010.11929", "global_attention"),
        "deit": Family(
            "DeiT", "Training data-efficient image transformers & distillation", "2012.12877", "global_attention"
        ),
    }
)

MODELS: Mapping[str, str] = MappingProxyType(
    {
        "resnet_mini": "convolution",
        "nonlocal_resnet_mini": "nonlocal",
        "ccnet_resnet_mini": "ccnet",
        "sasa_resnet_mini": "sasa",
        "lrnet_mini": "lrnet",
        "aa_resnet_mini": "aa",
        "san_mini_pairwise": "san",
        "san_mini_patchwise": "san",
        "vit_mini": "vit",
        "deit_mini_distilled": "deit",
    }
)


def family_of(model: str) -> Family:
    """The family of a net.

    Raises:
        ValueError: sightline has no such net.
    """
    if model not in MODELS:
        raise ValueError(f"sightline has no model {model!r}; it has: {', '.join(MODELS)}")
    return FAMILIES[MODELS[model]]


def list_models(pattern: str = "*", family: str | None = None) -> list[str]:
    """Names of sightline's nets that match a glob pattern and, when given, belong to a family (a key of FAMILIES).

    Raises:
        ValueError: there is no such family.
    """
    if family is not None and family not in FAMILIES:
        raise ValueError(f"there is no family {family!r}; there are: {', '.join(FAMILIES)}")
    return [name for name, key in MODELS.items() if fnmatch(name, pattern) and family in (None, key)]
