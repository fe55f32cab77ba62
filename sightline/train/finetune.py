"""Start from trained weights: load everything but a head of another shape, and say what was matched, dropped and missing.

Position embeddings of another grid are resized where the model's module offers `checkpoint_filter_fn(state_dict, model)`, timm's
convention; elsewhere they are dropped and reported.
"""

import os
import sys
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from sightline.evaluate import read_weights
from sightline.runs import RunFolderError


@dataclass(frozen=True)
class Loaded:
    """What became of the tensors of a weights file.

    Args:
        source: the file or run folder as it was named.
        matched: tensors loaded.
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
    """Load what fits from a safetensors file or a run folder into `model`, in place.

    Raises:
        RunFolderError: the file can not be read, or nothing in it fits.
    """
    tensors, _ = read_weights(source)
    tensors = _adapt(tensors, model)
    wanted = model.state_dict()
    fitting = {name: t for name, t in tensors.items() if name in wanted and t.shape == wanted[name].shape}
    if not fitting:
        raise RunFolderError(f"nothing in {source} fits the model: no tensor has both a name and a shape that it knows")
    model.load_state_dict(fitting, strict=False)
    dropped = tuple(_reason(name, t, wanted.get(name)) for name, t in tensors.items() if name not in fitting)
    missing = tuple(name for name in wanted if name not in fitting)
    return Loaded(str(source), len(fitting), dropped, missing)


def _adapt(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    return tensors if convert is None else convert(tensors, model)


def _reason(name: str, tensor: Tensor, wanted: Tensor | None) -> str:
    if wanted is None:
        return f"{name}: the model has none"
    return f"{name}: {tuple(tensor.shape)} in the file, {tuple(wanted.shape)} in the model"
