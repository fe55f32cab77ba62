"""The beginning of a run, new or resumed: model, teacher, starting weights, and what the folder records of them."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator
from torch import nn

if TYPE_CHECKING:
    from sightline.train.sharded import ShardedSession

from sightline.data import Splits, derive_seed
from sightline.evaluate import ModelMeta
from sightline.recipes import Recipe
from sightline.runs import ENVIRONMENT, RECIPE, RunFolder, RunFolderError, environment
from sightline.train.checkpoint import latest_checkpoint
from sightline.train.finetune import load_pretrained
from sightline.train.plan import Batches, check_data, check_same_run, cut_batches, record
from sightline.train.processes import join_processes
from sightline.train.session import Session, seed_everything
from sightline.train.teacher import Teacher, load_teacher

_log = logging.getLogger("sightline.train")
ASKED_BY = {
    "drop_rate": "dropout",
    "drop_path_rate": "drop_path",
    "pre_logits": "hidden_head",
}  # option: field of the recipe


def recorded(run: RunFolder, resume: bool) -> dict[str, Any] | None:
    """recipe.json of the run that lies here; None for a new one.

    Raises:
        RunFolderError: there is a run and it is not to be resumed.
    """
    if not run.exists():
        return None
    if not resume:
        raise RunFolderError(f"{run.path} holds a run already; resume it, or choose another folder")
    return run.read(RECIPE)


def describe(recipe: Recipe, name: str, splits: Splits, options: Mapping[str, Any]) -> ModelMeta:
    """The model to be trained; what the recipe says of it goes to its entry point."""
    made = {key: value for key, field in ASKED_BY.items() if (value := getattr(recipe, field))}
    return ModelMeta(
        name, made | dict(options), splits.classes, splits.image_size, splits.mean, splits.std, source=splits.source
    )


@dataclass(frozen=True)
class PlannedRun:
    """What is settled before a session begins.

    Args:
        run: its folder.
        meta: the model.
        accelerator: device and processes.
        batches: how they share a batch.
        here: content of recipe.json; what becomes of the starting weights is added to it.
        finished: the folder holds this run's end already.
    """

    run: RunFolder
    meta: ModelMeta
    accelerator: Accelerator
    batches: Batches
    here: dict[str, Any]
    finished: bool


def plan_run(
    recipe: Recipe,
    model_name: str,
    splits: Splits,
    folder: str | os.PathLike[str],
    options: Mapping[str, Any],
    resume: bool,
    finetune: str | os.PathLike[str] | None = None,
) -> PlannedRun:
    """Check that recipe, data, model and processes fit together and to what the folder holds; nothing is written.

    Raises:
        RunFolderError: the folder holds a run and it is not to be resumed.
        ValueError: they do not fit, or the run to resume is another one.
    """
    run = RunFolder(folder)
    there = recorded(run, resume)
    check_data(recipe, splits)
    meta = describe(recipe, model_name, splits, options)
    accelerator = join_processes()
    batches = cut_batches(recipe, accelerator.num_processes, len(splits.train))
    here = record(recipe, meta, splits, batches, finetune or (there or {}).get("finetune", {}).get("source"))
    if there is not None:
        check_same_run(there, here)
    finished = there is not None and run.finished()
    if accelerator.is_main_process and not finished:
        _log.info("%s", batches.describe(recipe))
    return PlannedRun(run, meta, accelerator, batches, here, finished)


def begin(planned: PlannedRun, recipe: Recipe) -> Session:
    """The session of a run: restored from its checkpoint when there is one, else new, and recorded in the folder."""
    run, meta, accelerator, here = planned.run, planned.meta, planned.accelerator, planned.here
    teacher = _teacher(recipe, meta)
    model = _build(recipe, meta)
    session = _restored(run, recipe, model, accelerator, teacher) if run.exists() else None
    if session is not None:
        cut_log(run, session)
        return session
    if "finetune" in here:
        here["finetune"] = load_pretrained(model, here["finetune"]["source"], recipe.fresh_head).as_dict()
    session = (_sharded() if recipe.sharded else Session)(model, recipe, accelerator, teacher)
    accelerator.wait_for_everyone()  # so that no process takes the new recipe.json for an older run's
    record_new(run, session, here)
    return session


def cut_log(run: RunFolder, session: Session) -> None:
    """Drop the epochs of the log that the checkpoint has not seen."""
    if session.accelerator.is_main_process:
        run.write_log([line for line in run.log() if line["epoch"] < session.epoch])


def record_new(run: RunFolder, session: Session, here: dict[str, Any]) -> None:
    """Begin a run's folder; recipe.json comes last, since it makes the folder a run."""
    if session.accelerator.is_main_process:
        run.write(ENVIRONMENT, environment(str(session.accelerator.device)))
        run.write_log([])
        run.write(RECIPE, here)


def _restored(
    run: RunFolder, recipe: Recipe, model: nn.Module, accelerator: Accelerator, teacher: Teacher | None
) -> Session | None:
    """The session of the last checkpoint; None when there is none."""
    if recipe.sharded:
        kind = _sharded()
        if not kind.saved(run):
            return None
        session = kind(model, recipe, accelerator, teacher)
        session.load(run)
        return session
    state = latest_checkpoint(run)
    if state is None:
        return None
    session = Session(model, recipe, accelerator, teacher)
    session.restore(state)
    return session


def _sharded() -> "type[ShardedSession]":
    """Imported here: torch's distributed checkpoints take a second to import, and few runs need them."""
    from sightline.train.sharded import ShardedSession

    return ShardedSession


def _build(recipe: Recipe, meta: ModelMeta) -> nn.Module:
    """The model; one with a distillation token answers with both heads where it is taught, any other learns from one."""
    model = build_model(recipe, meta)
    answer_with_both_heads = getattr(model, "set_distilled_training", None)
    has_token = getattr(model, "head_dist", model) is not None  # ours and timm's say None without one
    if recipe.distillation != "none" and callable(answer_with_both_heads) and has_token:
        answer_with_both_heads(True)
    return model


def build_model(recipe: Recipe, meta: ModelMeta) -> nn.Module:
    """The model, its random start depending on the seed alone.

    Raises:
        ValueError: it does not take what the recipe or the caller asks of it.
    """
    seed_everything(derive_seed(recipe.seed, "model"))
    try:
        return meta.build()
    except TypeError as error:
        asked = ", ".join(f"{ASKED_BY.get(key, key)} ({key}={value!r})" for key, value in meta.options.items())
        raise ValueError(
            f"{meta.name} can not be built with {asked or 'its options'}: {error}. Change that, or choose another net"
        ) from error


def _teacher(recipe: Recipe, meta: ModelMeta) -> Teacher | None:
    if recipe.distillation == "none":
        return None
    if recipe.teacher is None:
        raise ValueError(
            f"{recipe.distillation} distillation needs a teacher: set teacher to a run folder, for example teacher=runs/resnet_mini"
        )
    return load_teacher(recipe.teacher, meta)
