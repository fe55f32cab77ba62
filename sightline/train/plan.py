"""The plan of a run: how the global batch is cut, what recipe.json records, and whether a begun run is the same run."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sightline.data import Splits
from sightline.evaluate import ModelMeta
from sightline.recipes import Recipe

IMMATERIAL = (  # fields that leave the trained weights as they are, but for rounding
    "card",
    "workers",
    "checkpoint_every",
    "checkpoint_steps",
    "accumulate",
    "device_batch",
    "grad_checkpointing",
    "compile",
)


@dataclass(frozen=True)
class Batches:
    """A global batch, cut: global = per_process * processes * accumulate.

    Args:
        per_process: images of one forward pass of one process.
        processes: number of processes.
        accumulate: forward passes an optimiser step.
        steps: optimiser steps an epoch; images beyond the last whole batch are left out.
    """

    per_process: int
    processes: int
    accumulate: int
    steps: int

    @property
    def size(self) -> int:
        """The global batch: images an optimiser step."""
        return self.per_process * self.processes * self.accumulate

    def describe(self, recipe: Recipe) -> str:
        """One sentence on how the batch was cut and what that means for the learning rate."""
        parts = f" x {self.processes} processes" if self.processes > 1 else ""
        parts += f" x {self.accumulate} parts, one after another" if self.accumulate > 1 else ""
        rule = f", {recipe.lr:g} x {self.size} / {recipe.lr_batch}" if recipe.lr_batch is not None else ""
        return (
            f"a batch of {self.size} images = {self.per_process}{parts or ', in one piece'}; learning rate {recipe.peak_lr:g}"
            f"{rule}, as the recipe says for this batch"
        )

    def as_dict(self) -> dict[str, int]:
        """The entry "batch" of recipe.json."""
        return {
            "global": self.size,
            "per_process": self.per_process,
            "processes": self.processes,
            "accumulate": self.accumulate,
        }


def cut_batches(recipe: Recipe, processes: int, images: int) -> Batches:
    """Cut the recipe's global batch into equal parts: `accumulate` of them a process, more where `device_batch` asks for it.

    Raises:
        ValueError: it can not be cut equally, or there are fewer images than one batch.
    """
    accumulate = _parts(recipe, processes)
    parts = processes * accumulate
    if recipe.batch_size % parts:
        raise ValueError(
            f"batch_size is the global one and must be a multiple of processes * accumulate; got batch_size={recipe.batch_size}, "
            f"processes={processes}, accumulate={accumulate}. Try {_fitting(recipe.batch_size, processes, accumulate)}"
        )
    if images < recipe.batch_size:
        raise ValueError(
            f"{images} training images do not fill one batch of {recipe.batch_size}; set batch_size={_power_below(images)} or less"
        )
    return Batches(recipe.batch_size // parts, processes, accumulate, images // recipe.batch_size)


def _parts(recipe: Recipe, processes: int) -> int:
    """Parts of a process's share: the fewest, from `accumulate` on, that divide it and are no larger than `device_batch`."""
    share, most = recipe.batch_size // processes, recipe.device_batch
    if most is None or share % recipe.accumulate:
        return recipe.accumulate
    return next(n for n in range(recipe.accumulate, share + 1) if share % n == 0 and share // n <= most)


def _fitting(batch: int, processes: int, accumulate: int) -> str:
    """What can be cut: the next smaller batch, or, where a part would have no image, fewer parts."""
    parts = processes * accumulate
    if batch >= parts:
        return f"batch_size={batch // parts * parts}"
    most = max((n for n in range(1, accumulate + 1) if batch % (processes * n) == 0), default=None)
    return f"batch_size={processes}, accumulate=1" if most is None else f"accumulate={most}"


def _power_below(number: int) -> int:
    return 1 << (max(number, 1).bit_length() - 1)


def check_task(recipe: Recipe, task: str, remedy: str) -> None:
    """Refuse a recipe of another task. Raises ValueError."""
    if recipe.task != task:
        raise ValueError(f"the recipe {recipe.name} has task={recipe.task!r}; {remedy}")


def check_data(recipe: Recipe, splits: Splits) -> None:
    """Hold loaded data to the fields of a recipe that only loading can fulfil.

    Raises:
        ValueError: sizes or limits differ; the message gives the call that loads them right.
    """
    if recipe.image_size is not None and splits.image_size != (recipe.image_size, recipe.image_size):
        raise ValueError(
            f"the recipe asks for image_size={recipe.image_size}, the data were loaded at {splits.image_size}; "
            f"load them with load_splits(..., image_size={recipe.image_size})"
        )
    for field, images in (("train_limit", splits.train), ("test_limit", splits.test)):
        limit = getattr(recipe, field)
        if limit is not None and len(images) > limit:
            raise ValueError(
                f"the recipe asks for {field}={limit}, {len(images)} images were loaded; "
                f"load them with load_splits(..., {field}={limit})"
            )


def record(
    recipe: Recipe, meta: ModelMeta, splits: Splits, batches: Batches, finetune: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """The content of recipe.json, as JSON gives it back; `finetune` is the file or folder to start from."""
    content: dict[str, Any] = {
        "recipe": asdict(recipe),
        "model": meta.describe(),
        "data": {
            "source": splits.source,
            "classes": splits.classes,
            "sizes": {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)},
            "mean": splits.mean,
            "std": splits.std,
            "fingerprint": splits.fingerprint,
        },
        "batch": batches.as_dict(),
        "peak_lr": recipe.peak_lr,
    }
    if finetune is not None:
        content["finetune"] = {"source": str(finetune)}
    return json.loads(json.dumps(content))


def check_same_run(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Hold a run to be resumed to what its folder records; the number of processes may differ.

    Raises:
        ValueError: recipe, model, data or starting weights differ; the message names each key with both values.
    """
    defaults = json.loads(json.dumps(asdict(Recipe())))
    begun = defaults | there["recipe"]  # a run of an older version lacks the fields that came later
    pairs = {key: (begun.get(key), here["recipe"].get(key)) for key in begun | here["recipe"] if key not in IMMATERIAL}
    pairs |= {f"model {key}": (there["model"].get(key), value) for key, value in here["model"].items()}
    pairs["data fingerprint"] = (there["data"]["fingerprint"], here["data"]["fingerprint"])
    pairs["finetune"] = (there.get("finetune", {}).get("source"), here.get("finetune", {}).get("source"))
    differing = [f"{key} was {old!r} and is {new!r}" for key, (old, new) in pairs.items() if old != new]
    if differing:
        raise ValueError(
            f"this is not the run that began here: {'; '.join(differing)}. Resume with what it began with, or choose another folder"
        )
