"""What a recipe's fields may be: their types from the annotations, their ranges from one table."""

import math
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

POSITIVE, SHARE, RATE = (1, math.inf), (0, 1), (0, math.inf)
RANGES: Mapping[str, tuple[float, float]] = {
    "epochs": POSITIVE,
    "batch_size": POSITIVE,
    "image_size": POSITIVE,
    "small_size": POSITIVE,
    "small_epochs": RATE,
    "train_limit": POSITIVE,
    "test_limit": POSITIVE,
    "seed": (0, 2**63 - 1),
    "lr": RATE,
    "lr_batch": POSITIVE,
    "step_epochs": (1e-3, math.inf),
    "step_factor": SHARE,
    "min_lr": RATE,
    "warmup_epochs": RATE,
    "weight_decay": RATE,
    "momentum": SHARE,
    "betas": SHARE,
    "clip_grad": RATE,
    "label_smoothing": SHARE,
    "mixup": RATE,
    "cutmix": RATE,
    "mix_prob": SHARE,
    "crop_padding": RATE,
    "resized_crop": SHARE,
    "flip": SHARE,
    "randaugment_ops": RATE,
    "randaugment_magnitude": (0, 10),
    "randaugment_std": RATE,
    "erasing": SHARE,
    "repeats": POSITIVE,
    "dropout": SHARE,
    "drop_path": SHARE,
    "ema": SHARE,
    "accumulate": POSITIVE,
    "device_batch": POSITIVE,
    "distillation_alpha": SHARE,
    "distillation_tau": (1e-3, math.inf),
    "workers": RATE,
    "eval_every": POSITIVE,
    "checkpoint_every": POSITIVE,
    "checkpoint_steps": POSITIVE,
}


def check(recipe: object) -> None:
    """Hold every field of a recipe to its annotation and its range.

    Raises:
        TypeError: a value is not of its annotation.
        ValueError: a number is outside its range, or a word is none of the choices.
    """
    for field, annotation in get_type_hints(type(recipe)).items():
        value = getattr(recipe, field)
        _check_type(field, value, annotation)
        for number in value if isinstance(value, tuple) else (value,):
            _check_range(field, number)


def _check_type(field: str, value: Any, annotation: Any) -> None:
    if get_origin(annotation) is Literal:
        if value not in get_args(annotation):
            raise ValueError(f"{field} must be one of {', '.join(get_args(annotation))}; got {value!r}")
    elif not _fits(value, annotation):
        raise TypeError(f"{field} must be {describe(annotation)}; got {value!r}")


def _fits(value: Any, annotation: Any) -> bool:
    if isinstance(annotation, UnionType):
        return any(_fits(value, option) for option in get_args(annotation))
    if get_origin(annotation) is tuple:
        parts = get_args(annotation)
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, annotation) and (annotation is bool or not isinstance(value, bool))


def _check_range(field: str, value: Any) -> None:
    if field not in RANGES or value is None:
        return
    low, high = RANGES[field]
    if not (low <= value <= high and math.isfinite(value)):
        rule = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{field} must be {rule}; got {value!r}")


def parse(field: str, text: str, annotation: Any) -> Any:
    """Read a value typed by hand: "none" where None is allowed, "0.9,0.95" for a tuple, "yes" or "no" for a switch.

    Raises:
        ValueError: the text is no such value; the message names the field and what it takes.
    """
    try:
        return _parse(text.strip(), annotation)
    except ValueError:
        raise ValueError(f"{field} takes {describe(annotation)}; got {text!r}") from None


def _parse(text: str, annotation: Any) -> Any:
    if isinstance(annotation, UnionType):
        wanted = [option for option in get_args(annotation) if option is not NoneType]
        return None if text.lower() == "none" else _parse(text, wanted[0])
    if get_origin(annotation) is tuple:
        parts = [part.strip() for part in text.strip("()[]").split(",")]
        return tuple(_parse(part, kind) for part, kind in zip(parts, get_args(annotation), strict=True))
    if annotation is bool:
        words = {
            "yes": True,
            "true": True,
            "on": True,
            "1": True,
            "no": False,
            "false": False,
            "off": False,
            "0": False,
        }
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]
    return annotation(text) if annotation in (int, float) else text


def describe(annotation: Any) -> str:
    """An annotation in words."""
    if isinstance(annotation, UnionType):
        return " or ".join(describe(option) for option in get_args(annotation))
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"{len(get_args(annotation))} numbers, separated by commas"
    words = {int: "a whole number", float: "a number", bool: "yes or no", str: "text", NoneType: "none"}
    return words[annotation]
