"""What a net at hand is, in the words a file can keep: name, options, classes, pre-processing, traits."""

from collections.abc import Mapping
from typing import Any

import timm
from torch import nn

from sightline.weights.errors import WeightsError
from sightline.weights.facts import Facts
from sightline.weights.meta import ModelMeta, Preprocessing, preprocessing_of
from sightline.weights.traits import traits_of

STATED = ("num_classes", "in_chans", "img_size")  # options that have a field of their own
PLAIN = (str, int, float, bool, type(None), list, tuple)


def describe(model: nn.Module, facts: Facts | None = None) -> ModelMeta:
    """The meta of a model made by `create_model`, by what it was made with and what its source states.

    Raises:
        WeightsError: the model was not made by name, or by options that a file can not keep.
    """
    cfg = getattr(model, "pretrained_cfg", None)
    name = cfg.get("architecture") if isinstance(cfg, Mapping) else None
    if not isinstance(cfg, Mapping) or not name or not timm.is_model(name):
        raise WeightsError(
            f"{type(model).__name__} was not made by create_model, so it can not be made again by name; give its meta"
        )
    eye = (facts.eye if facts is not None else None) or preprocessing_of(cfg, getattr(model, "img_size", None))
    count = getattr(model, "num_classes", 0)
    return ModelMeta(
        name,
        _options(model),
        _classes(cfg.get("label_names"), count),
        _size(model, eye),
        eye.mean,
        eye.std,
        in_chans=_channels(model, cfg, eye),
        crop=eye.crop,
        crop_mode=eye.crop_mode,
        interpolation=eye.interpolation,
        traits=traits_of(model),
    )


def _size(model: nn.Module, eye: Preprocessing) -> tuple[int, int]:
    given: Any = getattr(model, "_model_args", {})
    size: Any = getattr(model, "img_size", None) or given.get("img_size") or eye.image_size
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _options(model: nn.Module) -> dict[str, Any]:
    given: Mapping[str, Any] = getattr(model, "_model_args", {})  # type: ignore[assignment]
    options = {key: value for key, value in given.items() if key not in STATED}
    strange = [key for key, value in options.items() if not isinstance(value, PLAIN)]
    if strange:
        raise WeightsError(f"the net was made with {', '.join(strange)}, which a file can not keep; give its meta")
    return options


def _classes(labels: Any, count: int) -> tuple[str, ...]:
    if isinstance(labels, list | tuple) and len(labels) == count:
        return tuple(map(str, labels))
    return tuple(f"class {index}" for index in range(count))


def _channels(model: nn.Module, cfg: Mapping[str, Any], eye: Preprocessing) -> int:
    first = cfg.get("first_conv")
    if isinstance(first, str):
        weight = model.state_dict().get(f"{first}.weight")
        if weight is not None:
            return weight.shape[1]
    return len(eye.mean)
