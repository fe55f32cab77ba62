"""The families of nets as the page shows them: name, paper, one colour and one marker each, the same in every figure.

A page is drawn from folders that any version wrote, so a net's family is read off the first word of its name.
Ours: the colours keep a contrast of 3.5 : 1 or more to the page's paper, light and dark, and were spread apart under simulated
protanopia, deuteranopia and tritanopia; a marker and a dash repeat what a colour says.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """One family; `light` and `dark` are its colour on light and dark paper, `marker` a shape of the scatter."""

    key: str
    name: str
    arxiv: str
    light: str
    dark: str
    marker: str


FAMILIES = (
    Family("convolution", "Convolution", "1512.03385", "#565a60", "#e0ddd5", "circle"),
    Family("nonlocal", "Non-local", "1711.07971", "#3d63cc", "#4a7dea", "square"),
    Family("ccnet", "CCNet", "1811.11721", "#d4623c", "#f0741a", "plus"),
    Family("sasa", "SASA", "1906.05909", "#23703f", "#5fc083", "triangle"),
    Family("lrnet", "LR-Net", "1904.11491", "#b8437f", "#dd7fc0", "diamond"),
    Family("aa", "AA", "1904.09925", "#8a7d10", "#f5cb3d", "hexagon"),
    Family("san", "SAN", "2004.13621", "#0c8bbf", "#58d0fa", "down"),
    Family("vit", "ViT", "2010.11929", "#37148f", "#a896ff", "star"),
    Family("deit", "DeiT", "2012.12877", "#6b1020", "#d6336c", "cross"),
)
OTHER = Family("other", "Other", "", "#6f6f6f", "#9c9c9c", "circle")
_BY_WORD = {family.key: family for family in FAMILIES} | {"resnet": FAMILIES[0], "se": FAMILIES[0]}
_SILENT = {"mini", "resnet"}  # words of a net's name that its label does without


def family_of(model: str) -> Family:
    """The family of a net: "sasa_resnet_mini" and "sasa_resnet50" are SASA, "lrnet50" is LR-Net; OTHER when unknown."""
    word = re.match(r"[a-z]*", model.split("_")[0])
    return _BY_WORD.get(word.group() if word else "", OTHER)


def labels(models: Sequence[str]) -> dict[str, str]:
    """A short label a net: its family and what sets it apart ("SAN pairwise"); its own name where two labels would be equal."""
    short = {model: _label(model) for model in models}
    often = Counter(short.values())
    return {model: label if often[label] == 1 else model for model, label in short.items()}


def _label(model: str) -> str:
    family = family_of(model)
    if family is OTHER:
        return model
    first, *rest = model.split("_")
    size = first[len(re.match(r"[a-z]*", first).group()) :]  # type: ignore[union-attr]
    gate = ["SE"] if first == "se" else []  # squeeze-and-excitation on a convolutional net
    return " ".join([family.name, *gate, *([size] if size else []), *(word for word in rest if word not in _SILENT)])
