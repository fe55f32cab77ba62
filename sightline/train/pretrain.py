"""Pre-training without labels: `pretrain` runs a recipe of masked patches into a run folder, whose weights fine-tuning starts from.

The loop, its log, its checkpoints and its exact resuming are those of `train`; only what a validation measures and what is kept at
the end differ. Test images are not looked at.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from sightline.backbones.mode import evaluating
from sightline.data import ImageSet, Splits, normalise
from sightline.evaluate import ModelMeta, save_weights
from sightline.recipes import Recipe
from sightline.runs import METRICS, WEIGHTS, RunFolder
from sightline.train.begin import build_model, cut_log, plan_run, record_new
from sightline.train.checkpoint import latest_checkpoint
from sightline.train.feed import Feed, Part
from sightline.train.loop import Loop
from sightline.train.masked_patches import MaskedPatches, colour_loss
from sightline.train.memory import peak_memory, reset_peak_memory
from sightline.train.plan import check_task
from sightline.train.processes import alone_in
from sightline.train.progress import ProgressCallback
from sightline.train.session import Session


@dataclass(frozen=True)
class Colours:
    """How well colours of corrupted patches are told: mean cross-entropy in nats, share of right ones, images."""

    loss: float
    accuracy: float
    n: int


def pretrain(
    recipe: Recipe,
    model_name: str,
    splits: Splits,
    folder: str | os.PathLike[str],
    *,
    model_options: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Train a ViT to tell the colours of hidden patches, see `sightline.train.masked_patches`; labels are not used.

    Args:
        recipe: the run, with `task="masked_patches"`; what needs labels is refused, or, smoothing, does not apply.
        model_name: a ViT or DeiT of sightline's.
        splits: the images.
        folder: the run folder; start a fine-tuning with `train(..., finetune=folder)`.
        model_options: further options of the model's entry point.
        resume: continue what the folder holds.
        progress: called after each step and each validation; its accuracy is the share of colours that are right.

    Returns:
        The content of metrics.json.

    Raises:
        RunFolderError: the folder holds a run already, another process trains into it, or a file can not be read or written.
        ValueError: recipe, data and model do not fit, the model is no ViT, or the run to resume is another one.
    """
    check_task(recipe, "masked_patches", "train it with sightline.train.train")
    _check_unlabelled(recipe)
    planned = plan_run(recipe, model_name, splits, folder, model_options or {}, resume)
    run, meta, accelerator = planned.run, planned.meta, planned.accelerator
    if planned.finished:
        return run.read(METRICS)
    with alone_in(run, accelerator):
        net = build_model(recipe, meta)
        session = MaskedSession(MaskedPatches(net, meta.mean, meta.std), recipe, accelerator, None)
        session.objective = colour_loss  # type: ignore[assignment]
        _open(run, session, planned.here)
        reset_peak_memory(accelerator.device)
        MaskedLoop(run, session, splits, planned.batches, progress).fit()
        metrics = _close(run, session, splits, meta)
        accelerator.wait_for_everyone()
    return metrics


def _check_unlabelled(recipe: Recipe) -> None:
    """Refuse what pre-training without labels can not do. Raises ValueError."""
    wrong = {"mixup": 0, "cutmix": 0, "distillation": "none", "sharded": False}
    for field, right in wrong.items():
        if (value := getattr(recipe, field)) != right:
            raise ValueError(f"pre-training without labels takes {field}={right}; got {value!r}")


class MaskedSession(Session):
    """A session whose targets are chance: they say which patches are hidden."""

    def _outputs(self, images: Tensor, targets: Tensor) -> Any:
        return self._forward(images, targets)


class MaskedFeed(Feed):
    """The images of `train` with chance (B, 3, L) in place of their labels, the same however many processes share a batch."""

    def __init__(self, task: MaskedPatches, *options: Any) -> None:
        super().__init__(*options)
        self.task = task

    def _group(self, images: Tensor, labels: Tensor, epoch: int, generator: torch.Generator) -> Part:
        images, _ = super()._group(images, labels, epoch, generator)
        return images, self.task.chance(images, generator)


class MaskedLoop(Loop):
    """The loop of `train`, validated by the colours of corrupted patches."""

    def _feed(self) -> Feed:
        session = self.session
        return MaskedFeed(
            cast(MaskedPatches, session.model), self.splits, session.recipe, self.batches, session.accelerator
        )

    def _validate(self) -> Colours | None:  # type: ignore[override] (what the loop reads of it, loss and accuracy, is there)
        recipe, epoch = self.session.recipe, self.session.epoch + 1
        if epoch % recipe.eval_every and epoch < recipe.epochs:
            return None
        result = tell_colours(self.session.weights, self.splits.val, self.splits, max(recipe.batch_size, 256))
        self.val_accuracy = result.accuracy
        return result


@torch.no_grad()
def tell_colours(model: nn.Module, images: ImageSet, splits: Splits, batch_size: int = 256) -> Colours:
    """Loss and accuracy on a set of images, the same patches corrupted at every call."""
    device = next(model.parameters()).device
    loss, right, total = 0.0, 0, 0
    with evaluating(model), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        for indices in torch.arange(len(images)).split(batch_size):
            logits, colours = model(normalise(images.batch(indices).to(device), splits.mean, splits.std))
            loss += colour_loss((logits, colours)).item() * len(colours)
            right += int((logits.argmax(1) == colours).sum())
            total += len(colours)
    return Colours(loss / total, right / total, len(images))


def _open(run: RunFolder, session: Session, here: dict[str, Any]) -> None:
    """Restore the session from its checkpoint, or record a new run."""
    state = latest_checkpoint(run) if run.exists() else None
    if state is None:
        record_new(run, session, here)
    else:
        session.restore(state)
        cut_log(run, session)


def _close(run: RunFolder, session: Session, splits: Splits, meta: ModelMeta) -> dict[str, Any]:
    """Keep the net without what the task needed beside it."""
    result, sums = tell_colours(session.weights, splits.val, splits), session.sums
    metrics = {
        "finished": True,
        "task": session.recipe.task,
        "epochs": session.epoch,
        "val": {"colour_accuracy": result.accuracy, "loss": result.loss, "n": result.n},
        "train_seconds": sums.total_seconds,
        "train_images_per_second": sums.total_images / max(sums.total_step_seconds, 1e-9),
        "peak_memory_bytes": peak_memory(session.accelerator.device),
    }
    if session.accelerator.is_main_process:
        save_weights(run.file(WEIGHTS), session.weights.net, meta)  # type: ignore[arg-type]
        run.write(METRICS, metrics)
    return metrics
