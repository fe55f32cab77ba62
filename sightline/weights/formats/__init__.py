"""The formats of weights that are known, and which of them a source has."""

from collections.abc import Collection

from sightline.weights.formats.format import ANY, RESIDUAL, SAN, TRANSFORMER, Format
from sightline.weights.formats.google import GOOGLE
from sightline.weights.formats.huggingface import HUGGINGFACE
from sightline.weights.formats.resnet import RESNET
from sightline.weights.formats.san_authors import SAN_AUTHORS
from sightline.weights.formats.timm_vit import DEIT, TIMM_VIT
from sightline.weights.formats.torchvision_vit import TORCHVISION_VIT

__all__ = [
    "ANY",
    "DEIT",
    "FORMATS",
    "GOOGLE",
    "OWN",
    "RESIDUAL",
    "SAN",
    "TIMM_VIT",
    "TRANSFORMER",
    "Format",
    "recognise",
]

OWN = Format("the net's own names", ANY)
FORMATS = (GOOGLE, HUGGINGFACE, TORCHVISION_VIT, TIMM_VIT, DEIT, SAN_AUTHORS, RESNET)


def recognise(names: Collection[str], nested: str = "") -> Format:
    """The format of a source, by its names and the entry its tensors lay in; OWN when it is none of the known ones."""
    found = next((one for one in FORMATS if one.known_by(names)), OWN)
    return DEIT if found is TIMM_VIT and nested == "model" else found
