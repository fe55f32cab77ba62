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


def load_pretrained(model: nn.Module, source: str | os.PathLike[str], fresh_head: bool = False) -> Loaded:
    """Load what fits from a weights file, a folder or another source (see `sightline.create_model`) into `model`, in place.

    Args:
        model: the net.
        source: the weights.
        fresh_head: the classifier begins anew even when the source's would fit, as in ViT's fine-tuning (arXiv 2010.11929,
            section 3.2); its tensors are then among the missing.

    Raises:
        RunFolderError: the source can not be read, or nothing in it fits.
    """
    report = load_weights(_part(model, source), source, strict=False, fresh_classifier=True)
    matched = len(report.of("matched")) + len(report.of("resized"))
    missing = tuple(entry.ours for entry in report.of("missing"))
    dropped = tuple(_reason(entry) for entry in report.of("dropped"))
    if fresh_head:
        renewed = _renew_head(model)
        taken = {entry.ours for status in ("matched", "resized") for entry in report.of(status)}
        matched = len((taken & model.state_dict().keys()) - set(renewed))
        missing += tuple(name for name in renewed if name not in missing)
    return Loaded(str(source), matched, dropped, missing)


def _renew_head(model: nn.Module) -> list[str]:
    """Begin the classifier anew; names of its tensors."""
    before = dict(model.named_parameters())
    model.reset_classifier(model.num_classes)  # type: ignore[operator] (timm's convention)
    return [name for name, parameter in model.named_parameters() if before.get(name) is not parameter]


def _part(model: nn.Module, source: str | os.PathLike[str]) -> nn.Module:
    """The part of a model that a source is for: the stem of a small hybrid when the source is a residual net, else all of it."""
    stem = getattr(getattr(model, "patch_embed", None), "backbone", None)
    if isinstance(stem, ResidualStem) and "layer1.0.conv1.weight" in read_weights(source)[0]:
        return stem
    return model


def _reason(entry: Entry) -> str:
    note = entry.note.replace("in the source", "in the file").replace("the net", "the model")
    return f"{entry.ours or ', '.join(entry.theirs)}: {note}"
