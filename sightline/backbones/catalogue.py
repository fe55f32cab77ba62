"""The catalogue: which nets there are, the family and paper of each, and what the paper prints about it.

Every module of nets contributes its own through `sightline.backbones.register`; nothing is listed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from types import MappingProxyType
from typing import Any


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


@dataclass(frozen=True)
class Printed:
    """What a paper prints of a net, digit by digit, so that it is known how far the print can be held to.

    Args:
        source: where it is printed: "table 1", or "arXiv 1906.05909, table 1" when that is not the family's own paper.
        parameters: in millions, as printed: "18.0"; "" when it is not printed.
        flops: in billions, as printed: "7.2"; "" when it is not printed.
        flops_per_mac: 2 where the paper counts the multiplication and the addition, 1 where it counts them together.
        reason: why our count differs, where it does.
    """

    source: str
    parameters: str = ""
    flops: str = ""
    flops_per_mac: int = 1
    reason: str = ""


@dataclass(frozen=True)
class Net:
    """A net as one line of data.

    Args:
        family: a key of FAMILIES.
        about: one sentence; it becomes the docstring of the net's entry point.
        config: what the module's builder makes the net from.
        printed: what the paper prints of it; None for nets of our own and nets that no paper counts.
        cfg: what timm's `pretrained_cfg` says of this net in particular.
    """

    family: str
    about: str
    config: Any
    printed: Printed | None = None
    cfg: Mapping[str, Any] = field(default_factory=dict)


_nets: dict[str, Net] = {}
_families: dict[str, str] = {}
NETS: Mapping[str, Net] = MappingProxyType(_nets)
MODELS: Mapping[str, str] = MappingProxyType(_families)


def add(name: str, net: Net) -> None:
    """Enter a net.

    Raises:
        ValueError: the name is taken, or there is no such family.
    """
    if name in _nets:
        raise ValueError(f"there are two nets of the name {name!r}")
    _check_family(net.family)
    _nets[name], _families[name] = net, net.family


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

    Family by family, in each the small nets first, then those of the paper.

    Raises:
        ValueError: there is no such family.
    """
    if family is not None:
        _check_family(family)
    order = list(FAMILIES)
    names = sorted(MODELS, key=lambda name: (order.index(MODELS[name]), "mini" not in name))  # stable: as entered
    return [name for name in names if fnmatch(name, pattern) and family in (None, MODELS[name])]


def _check_family(family: str) -> None:
    if family not in FAMILIES:
        raise ValueError(f"there is no family {family!r}; there are: {', '.join(FAMILIES)}")
