"""Start from trained weights: load everything but a head of another shape, and say what was matched, dropped and missing.

Any source of `sightline.weights` will do; what does not fit is left out and reported, where `create_model` would refuse it.
A small hybrid takes the weights of a residual net into its stem.
"""

import os
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from sightline.backbones.residual_stem import ResidualStem
from sightline.weights import Entry, load_weights, read_weights


@dataclass(frozen=True)
class Loaded:
    """What became of the tensors of a weights file.

    Args:
        source: the file or run folder as it was named.
        matched: tensors loaded, those resized for another image size among them.
        dropped: tensors of the file that the model has in another shape, with both shapes, or not at all.
        missing: tensors of the model that keep their random start.
    """

    source: str
    matched: int
    dropped: tuple[str, ...]
    missing: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The entry "finetune" of recipe.json."""
        return asdict(self)


def load_pretrained(model: nn.Module, source: str | os.PathLike[str]) -> Loaded:
    """Load what fits from a weights file, a folder or another source (see `sightline.create_model`) into `model`, in place.

    Raises:
        RunFolderError: the source can not be read, or nothing in it fits.
    """
    report = load_weights(_part(model, source), source, strict=False, fresh_classifier=True)
    matched = len(report.of("matched")) + len(report.of("resized"))
    missing = tuple(entry.ours for entry in report.of("missing"))
    return Loaded(str(source), matched, tuple(_reason(entry) for entry in report.of("dropped")), missing)


def _part(model: nn.Module, source: str | os.PathLike[str]) -> nn.Module:
    """The part of a model that a source is for: the stem of a small hybrid when the source is a residual net, else all of it."""
    stem = getattr(getattr(model, "patch_embed", None), "backbone", None)
    if isinstance(stem, ResidualStem) and "layer1.0.conv1.weight" in read_weights(source)[0]:
        return stem
    return model


def _reason(entry: Entry) -> str:
    note = entry.note.replace("in the source", "in the file").replace("the net", "the model")
    return f"{entry.ours or ', '.join(entry.theirs)}: {note}"
