"""Trained weights back into a model: everything needed lies in the header of the run's model.safetensors.

The header (safetensors metadata, key "sightline") is JSON: model name and options, classes, image size, mean and std. A weights
file therefore predicts on its own, without the rest of its run folder.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sightline.backbones import create_model
from sightline.runs import SCHEMA, WEIGHTS, RunFolderError, atomic_write

KEY = "sightline"


@dataclass(frozen=True)
class ModelMeta:
    """What a trained model is and what it expects.

    Args:
        name: model name, see `sightline.list_models`.
        options: further options it was built with.
        classes: class names, in the order of the logits.
        image_size: rows and columns of the images.
        mean: of the training images, per channel, pixels in 0..1.
        std: likewise.
        in_chans: channels of the images.
        source: the data it was trained on, as they were named; None when unknown.
    """

    name: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    in_chans: int = 3
    source: str | None = None

    def build(self) -> nn.Module:
        """The model with random weights."""
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in self.options.items()}
        return create_model(
            self.name, num_classes=len(self.classes), in_chans=self.in_chans, **{"img_size": self.image_size} | options
        )

    def describe(self) -> dict[str, Any]:
        """The "model" entry of recipe.json."""
        return {
            "name": self.name,
            "num_classes": len(self.classes),
            "image_size": list(self.image_size),
            "in_chans": self.in_chans,
            "options": self.options,
        }


def save_weights(path: str | os.PathLike[str], model: nn.Module, meta: ModelMeta) -> None:
    """Write a model's parameters and buffers with the header that makes the file stand on its own."""
    tensors = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in model.state_dict().items()}
    header = json.dumps({"schema": SCHEMA} | asdict(meta))
    atomic_write(path, save(tensors, {KEY: header}))  # one key: safetensors writes several in any order


def load_run(path: str | os.PathLike[str]) -> tuple[nn.Module, ModelMeta]:
    """Load the model of a run folder, or of a model.safetensors file, on the CPU and in evaluation mode.

    Returns:
        The model and what it expects.

    Raises:
        RunFolderError: the weights are missing or damaged, lack our header, or do not fit the model it names.
    """
    tensors, meta = read_weights(path)
    if meta is None:
        raise RunFolderError(f"{path} does not say which model it belongs to; it was not written by `sightline train`")
    model = meta.build()
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunFolderError(f"{path} does not fit the model {meta.name!r} it names: {error}") from error
    return model.eval(), meta


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], ModelMeta | None]:
    """Tensors of a run folder or a safetensors file, and its header when it is one of ours.

    Raises:
        RunFolderError: there is no such file, or it is damaged or of a newer schema.
    """
    file = weights_file(path)
    try:
        with safe_open(file, "pt") as opened:
            header = (opened.metadata() or {}).get(KEY)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise RunFolderError(f"{file} is not a readable safetensors file: {error}") from error
    return tensors, None if header is None else _meta(header, file)


def weights_file(path: str | os.PathLike[str]) -> Path:
    """The weights file of a run folder, or the file itself. Raises RunFolderError when there is none."""
    path = Path(path)
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        hint = "the run has not finished; resume it" if path.is_dir() else "give a run folder or a .safetensors file"
        raise RunFolderError(f"{file} is missing: {hint}")
    return file


def _meta(header: str, file: Path) -> ModelMeta:
    try:
        fields = json.loads(header)
        if fields["schema"] > SCHEMA:
            raise RunFolderError(
                f"{file} has schema {fields['schema']}; this sightline reads up to {SCHEMA}. Update it"
            )
        return ModelMeta(
            name=fields["name"],
            options=fields["options"],
            classes=tuple(fields["classes"]),
            image_size=(fields["image_size"][0], fields["image_size"][1]),
            mean=tuple(fields["mean"]),
            std=tuple(fields["std"]),
            in_chans=fields["in_chans"],
            source=fields["source"],
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise RunFolderError(f"{file} has a damaged header: {error!r}") from error


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter or buffer; the CPU for a model that has neither."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")
