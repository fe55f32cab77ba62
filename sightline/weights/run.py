"""Weights that sightline wrote: a file whose header says what the model is and what it expects, alone or in a run folder.

The header (safetensors metadata, key "sightline") is JSON: model name and options, classes, pre-processing. A weights file
therefore predicts on its own, without the rest of its folder.
"""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from sightline.runs import atomic_write
from sightline.weights.declared import check_declared
from sightline.weights.errors import WeightsError
from sightline.weights.facts import KEY
from sightline.weights.folder import from_pretrained, meta_of
from sightline.weights.load import create_model
from sightline.weights.meta import ModelMeta
from sightline.weights.source import open_source, weights_in


def save_weights(
    path: str | os.PathLike[str], model: nn.Module, meta: ModelMeta, dtype: torch.dtype | None = None
) -> None:
    """Write a model's parameters and buffers with the header that makes the file stand on its own.

    Args:
        path: the file.
        model: the net.
        meta: what it expects.
        dtype: of the floats in the file; None: as the model has them. A tensor with a number that this type can not hold (a running
            variance above float16's 65,504) stays as it is. Loading gives the net's own type again.

    Raises:
        RunFolderError: the disk refuses; an older file of that name is untouched.
    """
    tensors = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in model.state_dict().items()}
    if dtype is not None:
        tensors = {name: _narrowed(t, dtype) if t.is_floating_point() else t for name, t in tensors.items()}
    header = json.dumps(meta.as_dict())
    atomic_write(path, save(tensors, {KEY: header}))  # one key: safetensors writes several in any order


def _narrowed(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    narrow = tensor.to(dtype)
    return narrow if torch.equal(narrow.isfinite(), tensor.isfinite()) else tensor


def load_run(path: str | os.PathLike[str]) -> tuple[nn.Module, ModelMeta]:
    """Load a trained model, on the CPU and in evaluation mode.

    Args:
        path: a run folder, its model.safetensors, a folder of `save_pretrained`, of transformers or timm, "hf-hub:ORG/NAME".

    Returns:
        The model and what it expects.

    Raises:
        RunFolderError: the weights are missing or damaged, do not say which model they belong to, or do not fit it.
    """
    source = open_source(path)
    meta = source.facts.meta
    if meta is None:
        if not source.facts.architecture:
            raise WeightsError(
                f"{path} does not say which model it belongs to; it was not written by `sightline train`. "
                "`sightline convert` writes a folder that does"
            )
        model = from_pretrained(path)
        return model, model.meta  # type: ignore[return-value]
    check_declared(source, meta.build)
    model = meta.build()
    try:
        model.load_state_dict(dict(source.tensors))
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit the model {meta.name!r} it names: {error}") from error
    model.meta = meta  # type: ignore[assignment]
    return model.eval(), meta


def load_net(name: str, weights: str | os.PathLike[str]) -> tuple[nn.Module, ModelMeta]:
    """A net by name with weights from anywhere, on the CPU and in evaluation mode: what `--model NAME --weights WEIGHTS` means.

    Args:
        name: see `sightline.list_models`.
        weights: as for `create_model`: the name of weights that come with sightline ("cifar10"), a file, a folder, "timm:NAME".

    Returns:
        The model and what it expects; classes that the source does not name are called by their numbers.

    Raises:
        ValueError: nobody knows the name.
        WeightsError: the weights can not be found or read, or do not fit.
    """
    model = create_model(name, weights=weights).eval()
    return model, meta_of(model)


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], ModelMeta | None]:
    """Tensors of a run folder or a weights file by the names they have there, and its header when it is one of ours.

    Raises:
        RunFolderError: there is no such file, or it is damaged, hostile, or of a newer schema.
    """
    source = open_source(path)
    return dict(source.tensors), source.facts.meta


def weights_file(path: str | os.PathLike[str]) -> Path:
    """The weights file of a run folder, or the file itself. Raises RunFolderError when there is none."""
    path = Path(path)
    if path.is_dir():
        return weights_in(path)
    if not path.is_file():
        raise WeightsError(f"{path} is missing: give a run folder or a .safetensors file")
    return path
