"""The beginning of a run, new or resumed: model, teacher, starting weights, and what the folder records of them."""

from collections.abc import Mapping
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
from sightline.train.session import Session, seed_everything
from sightline.train.teacher import Teacher, load_teacher


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
    asked = {"drop_rate": recipe.dropout, "drop_path_rate": recipe.drop_path, "pre_logits": recipe.hidden_head}
    made = {key: value for key, value in asked.items() if value}
    return ModelMeta(
        name, made | dict(options), splits.classes, splits.image_size, splits.mean, splits.std, source=splits.source
    )


def begin(run: RunFolder, recipe: Recipe, meta: ModelMeta, here: dict[str, Any], accelerator: Accelerator) -> Session:
    """The session of a run: restored from its checkpoint when there is one, else new, and recorded in the folder.

    Args:
        here: content of recipe.json; what became of the starting weights is added to it.
    """
    teacher = _teacher(recipe, meta)
    model = _build(recipe, meta)
    session = _restored(run, recipe, model, accelerator, teacher) if run.exists() else None
    if session is not None:
        if accelerator.is_main_process:
            run.write_log([line for line in run.log() if line["epoch"] < session.epoch])
        return session
    if "finetune" in here:
        here["finetune"] = load_pretrained(model, here["finetune"]["source"], recipe.fresh_head).as_dict()
    session = (_sharded() if recipe.sharded else Session)(model, recipe, accelerator, teacher)
    accelerator.wait_for_everyone()  # so that no process takes the new recipe.json for an older run's
    if accelerator.is_main_process:
        run.write(ENVIRONMENT, environment(str(accelerator.device)))
        run.write_log([])
        run.write(RECIPE, here)
    return session


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
    """The model, its random start depending on the seed alone."""
    seed_everything(derive_seed(recipe.seed, "model"))
    model = meta.build()
    answer_with_both_heads = getattr(model, "set_distilled_training", None)  # of a model with a distillation token
    if recipe.distillation != "none" and callable(answer_with_both_heads):
        answer_with_both_heads(True)
    return model


def _teacher(recipe: Recipe, meta: ModelMeta) -> Teacher | None:
    if recipe.distillation == "none":
        return None
    if recipe.teacher is None:
        raise ValueError(
            f"{recipe.distillation} distillation needs a teacher: set teacher to a run folder, for example teacher=runs/resnet_mini"
        )
    return load_teacher(recipe.teacher, meta)
