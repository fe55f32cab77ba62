"""From any source to a file or folder, as sightline, timm or transformers have it."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save
from torch import nn

from sightline.runs import WEIGHTS, atomic_write
from sightline.weights.describe import describe
from sightline.weights.errors import WeightsError
from sightline.weights.export import Exported, to_huggingface, to_timm
from sightline.weights.facts import CONFIG
from sightline.weights.folder import from_pretrained, meta_of, save_pretrained
from sightline.weights.meta import ModelMeta
from sightline.weights.report import Report
from sightline.weights.run import save_weights
from sightline.weights.source import Origin

EXPORTS: dict[str, Callable[[nn.Module, ModelMeta], Exported]] = {"timm": to_timm, "huggingface": to_huggingface}
TARGETS = ("sightline", *EXPORTS)


def convert(
    source: Origin,
    destination: str | os.PathLike[str],
    to: str = "sightline",
    model: str | None = None,
    image_size: tuple[int, int] | None = None,
) -> Report:
    """Read a source, write it anew, and say what became of every tensor.

    Args:
        source: see `sightline.create_model`.
        destination: a .safetensors file (tensors; with sightline's header when that is the target), or a folder, which gets
            config.json and pre-processing too.
        to: "sightline", "timm" or "huggingface".
        model: the net; None: the one the source names, or the one of sightline's that its tensors fit best.
        image_size: rows and columns; positions are resized as the source does. None: those of the source.

    Raises:
        WeightsError: it can not be read, fits no net, or the target has no such net. Nothing is written then.
        ValueError: an unknown target.
    """
    if to not in TARGETS:
        raise ValueError(f"to must be one of {', '.join(TARGETS)}; got {to!r}")
    path = Path(destination)
    if path.suffix not in ("", ".safetensors") and not path.is_dir():
        raise WeightsError(f"{path}: weights are written as .safetensors, or into a folder (a name without a suffix)")
    options = {} if image_size is None else {"img_size": image_size}
    net = from_pretrained(source, model, **options)
    meta, report = meta_of(net), _report(net)
    single = path.suffix == ".safetensors" and not path.is_dir()
    if to == "sightline":
        save_weights(path, net, meta) if single else save_pretrained(net, path, meta)
        return report
    made = EXPORTS[to](net, meta)
    data = save(dict(made.tensors), {"format": "pt"})
    if single:
        atomic_write(path, data)
    else:
        for name, content in {CONFIG: made.config, **made.others}.items():
            atomic_write(path / name, json.dumps(content, indent=2) + "\n")
        atomic_write(path / WEIGHTS, data)
    return replace(report, notes=report.notes + made.notes)


def _report(net: nn.Module) -> Report:
    report = getattr(net, "weights_report", None)
    if not isinstance(report, Report):
        raise WeightsError(f"{describe(net).name} was made without weights")
    return report
