"""A model as a folder, and back: model.safetensors, config.json with labels and pre-processing, a model card; then the Hub.

config.json is timm's, with one more key, "sightline": where sightline is installed, `timm.create_model("local-dir:FOLDER",
pretrained=True)` reads it too.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from sightline.runs import WEIGHTS, atomic_write
from sightline.weights import hub
from sightline.weights.card import card
from sightline.weights.declared import check_declared
from sightline.weights.describe import describe
from sightline.weights.errors import WeightsError
from sightline.weights.facts import CONFIG, KEY
from sightline.weights.guess import image_size_of, names_that_fit
from sightline.weights.load import build_for, create_from
from sightline.weights.meta import ModelMeta
from sightline.weights.source import Origin, Source, open_source


def save_pretrained(model: nn.Module, folder: str | os.PathLike[str], meta: ModelMeta | None = None) -> Path:
    """Write a model as a folder that `from_pretrained`, `sightline predict` and the Hub understand.

    Args:
        model: made by `create_model`, `from_pretrained` or `load_run`.
        folder: made when it is not there; files of these names in it are replaced.
        meta: labels and pre-processing; None: those the model came with.

    Returns:
        The folder.

    Raises:
        WeightsError: the model was not made by name.
        RunFolderError: the disk refuses.
    """
    from sightline.weights.run import save_weights

    folder, meta = Path(folder), meta if meta is not None else meta_of(model)
    save_weights(folder / WEIGHTS, model, meta)
    atomic_write(folder / CONFIG, json.dumps(_config(model, meta), indent=2) + "\n")
    atomic_write(folder / "README.md", card(model, meta))
    return folder


def meta_of(model: nn.Module) -> ModelMeta:
    """What a model is and expects: as it was loaded, else as it was made.

    Raises:
        WeightsError: the model was not made by name.
    """
    meta = getattr(model, "meta", None)
    if isinstance(meta, ModelMeta) and len(meta.classes) == getattr(model, "num_classes", None):
        return meta
    return describe(model)


def from_pretrained(source: Origin, name: str | None = None, **options: Any) -> nn.Module:
    """A model from its folder or file, in evaluation mode; `model.meta` has labels and pre-processing.

    Args:
        source: a folder of `save_pretrained`, a run, a folder of transformers or timm, a file of sightline, "hf-hub:ORG/NAME", ...
        name: the net; None: the one the source names, or the one of sightline's that its tensors fit best.
        options: of the net, over what the source says; other num_classes begin a fresh classifier.

    Raises:
        WeightsError: it can not be found, read or recognised, or is no net of sightline's.
    """
    opened = open_source(source)
    meta = opened.facts.meta
    name = name or (meta.name if meta is not None else name_of(opened))
    size = image_size_of(opened, name)
    if size is not None:
        options = {"img_size": size} | options
    check_declared(opened, lambda: build_for(opened, name, **options))
    model = create_from(opened, name, **options)
    made = describe(model, opened.facts)
    labels = opened.facts.classes
    if labels is not None and len(labels) == len(made.classes):
        made = replace(made, classes=labels)
    model.meta = made if meta is None else replace(made, source=meta.source)  # type: ignore[assignment]
    return model.eval()


def name_of(source: Source) -> str:
    """The net of sightline's that a source fits best.

    Raises:
        WeightsError: none.
    """
    fitting = names_that_fit(source, source.translated())
    if not fitting:
        raise WeightsError(
            f"no net of sightline's has the tensors of {source.label} ({source.format.name}); "
            "name one, and the error will say what differs"
        )
    return fitting[0]


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    meta: ModelMeta | None = None,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "Add model",
) -> str:
    """Upload a model's folder (see `save_pretrained`) to the Hugging Face Hub, making the repository when it is not there.

    Args:
        model: see `save_pretrained`.
        repo_id: ORG/NAME.
        meta: see `save_pretrained`.
        private: make a new repository private.
        token: of the Hub; None: the one `hf auth login` left.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        WeightsError: the Hub can not be reached or refuses; nothing was uploaded.
    """
    with TemporaryDirectory() as folder:
        save_pretrained(model, folder, meta)
        return hub.upload(Path(folder), repo_id, private, token, message)


def _config(model: nn.Module, meta: ModelMeta) -> dict[str, Any]:
    rows, cols = meta.image_size
    seen = {
        "architecture": meta.name,
        "input_size": [meta.in_chans, rows, cols],
        "mean": meta.mean,
        "std": meta.std,
        "crop_pct": meta.crop,
        "crop_mode": meta.crop_mode,
        "interpolation": meta.interpolation,
        "num_classes": len(meta.classes),
    }
    cfg: Any = getattr(model, "pretrained_cfg", None)
    kept = {key: cfg[key] for key in ("first_conv", "classifier", "license") if isinstance(cfg, dict) and cfg.get(key)}
    return {
        "architecture": meta.name,
        "num_classes": len(meta.classes),
        "num_features": getattr(model, "num_features", None),
        "label_names": meta.classes,
        "model_args": meta.options | {"img_size": [rows, cols], "in_chans": meta.in_chans},
        "pretrained_cfg": seen | kept,
        KEY: meta.as_dict(),
    }
