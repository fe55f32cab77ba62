"""The training loop: steps, validation, log, checkpoint, epoch after epoch; then the one evaluation on test images.

What it does not do itself stands beside it: plan (what is trained), begin, feed (images), session (one step), finish.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import torch

from sightline.data import Batch, Splits
from sightline.evaluate import NonFiniteLogitsError, Result, evaluate
from sightline.recipes import Recipe
from sightline.runs import METRICS, RunFolder
from sightline.train.begin import begin, plan_run
from sightline.train.feed import Feed
from sightline.train.finish import finish
from sightline.train.interrupt import StopRequest, TrainingInterrupted
from sightline.train.memory import reset_peak_memory
from sightline.train.nonfinite import ADVICE
from sightline.train.optimize import learning_rate
from sightline.train.plan import Batches, check_task
from sightline.train.processes import alone_in
from sightline.train.progress import ProgressCallback, TrainingProgress
from sightline.train.session import Session


def train(
    recipe: Recipe,
    model_name: str,
    splits: Splits,
    folder: str | os.PathLike[str],
    *,
    model_options: Mapping[str, Any] | None = None,
    resume: bool = False,
    finetune: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Train a model by a recipe into a run folder; the test images are touched once, at the end.

    The global generators of Python, numpy and torch are seeded anew at every step. Under `accelerate launch` or `torchrun` the
    global batch is shared by the processes.

    Args:
        recipe: the run.
        model_name: see `sightline.list_models`; timm's names work too.
        splits: the images, see `sightline.data.load_splits`.
        folder: the run folder.
        model_options: further options of the model's entry point.
        resume: continue what the folder holds (a finished run is returned as it is, an empty folder begins one).
        finetune: weights to start from, a safetensors file or a run folder; a head of another shape is left out.
        progress: called after each step and each validation.
        threads: CPU threads of torch meanwhile; None: as they are.

    Returns:
        The content of metrics.json.

    Raises:
        RunFolderError: the folder holds a run already, another process trains into it, or a file can not be read or written.
        ValueError: recipe, data and model do not fit, or the run to resume is another one.
        NonFiniteLossError: the loss or its gradient is not finite; the last checkpoint is kept.
        LoaderError: a batch could not be read; the last checkpoint is kept.
        UnreadableImage: a picture could be read when the data were loaded and can not be any more; the last checkpoint is kept.
        LostProcessError: another process of the run ended; the last checkpoint is kept.
        TrainingInterrupted: Ctrl-C or SIGTERM; the state was saved.
    """
    check_task(recipe, "classes", "train it with sightline.train.pretrain")
    with _threads(threads):
        planned = plan_run(recipe, model_name, splits, folder, model_options or {}, resume, finetune)
        run, accelerator = planned.run, planned.accelerator
        if planned.finished:
            return run.read(METRICS)
        with alone_in(run, accelerator):
            session = begin(planned, recipe)
            reset_peak_memory(accelerator.device)
            Loop(run, session, splits, planned.batches, progress).fit()
            metrics = finish(run, session, splits, planned.meta)
            accelerator.wait_for_everyone()
    return metrics


class Loop:
    """The epochs of a session that are left."""

    def __init__(
        self, run: RunFolder, session: Session, splits: Splits, batches: Batches, progress: ProgressCallback | None
    ) -> None:
        self.run, self.session, self.splits, self.batches, self.progress = run, session, splits, batches, progress
        self.feed = self._feed()
        seen = [line["val_accuracy"] for line in run.log() if line["val_accuracy"] is not None]
        self.val_accuracy: float | None = seen[-1] if seen else None

    def _feed(self) -> Feed:
        """Where the steps' images come from; pre-training has its own."""
        return Feed(self.splits, self.session.recipe, self.batches, self.session.accelerator)

    def fit(self) -> None:
        """Train to the end; a first Ctrl-C or SIGTERM saves and raises TrainingInterrupted."""
        session = self.session
        with StopRequest() as stop:
            while session.epoch < session.recipe.epochs:
                with closing(self.feed.epoch(session.epoch, session.step)) as read:
                    while session.step < self.batches.steps:
                        self._stop_if(stop)
                        self._step(read)
                line = self._close_epoch()
                session.epoch, session.step = session.epoch + 1, 0
                session.sums.begin_epoch()
                self._keep(line)
            self._stop_if(stop)  # asked for in the last step: whoever called us is to stop too

    def _step(self, read: Iterator[Batch]) -> None:
        session = self.session
        started = time.perf_counter()
        session.seed_step()
        parts = self.feed.parts(next(read), session.epoch, session.step)
        ready = time.perf_counter()
        loss = session.take_step(parts, self._rate())
        session.sums.add_step(loss, self.batches.size, ready - started, time.perf_counter() - started)
        self._report()
        if self._due() and session.step < self.batches.steps:  # the end of an epoch has its own
            self._save()

    def _due(self) -> bool:
        """Is a checkpoint due by the number of steps?"""
        every = self.session.recipe.checkpoint_steps
        return every is not None and (self.session.epoch * self.batches.steps + self.session.step) % every == 0

    def _rate(self) -> float:
        """Learning rate of the step ahead."""
        done = self.session.epoch * self.batches.steps + self.session.step
        return learning_rate(self.session.recipe, done, self.batches.steps)

    def _close_epoch(self) -> dict[str, Any]:
        """Validate when it is due; the epoch's line of the log."""
        session, sums, steps = self.session, self.session.sums, self.batches.steps
        started = time.perf_counter()
        val = self._validate()
        spent = time.perf_counter() - started
        sums.total_seconds += spent
        self._report()
        return {
            "epoch": session.epoch,
            "step": (session.epoch + 1) * steps,
            "lr": session.optimizer.param_groups[0]["lr"],
            "train_loss": self._over_processes(sums.loss / steps),
            "val_loss": val.loss if val else None,
            "val_accuracy": val.accuracy if val else None,
            "seconds": sums.seconds + spent,
            "images_per_second": steps * self.batches.size / sums.seconds,
            "loader_wait": sums.waiting / sums.seconds,
            "processes": self.batches.processes,
            "accumulate": self.batches.accumulate,
        }

    def _validate(self) -> Result | None:
        recipe, epoch = self.session.recipe, self.session.epoch + 1
        if epoch % recipe.eval_every and epoch < recipe.epochs:
            return None
        splits = self.splits
        try:
            result = evaluate(self.session.weights, splits.val, splits.mean, splits.std, max(recipe.batch_size, 256))
        except NonFiniteLogitsError as error:
            raise NonFiniteLogitsError(
                f"training stopped after epoch {epoch - 1} (from 0): {error}. {ADVICE}"
            ) from error
        self.val_accuracy = result.accuracy
        return result

    def _over_processes(self, value: float) -> float:
        values = self.session.from_all(value)
        return sum(values) / len(values)

    def _report(self) -> None:
        session, sums = self.session, self.session.sums
        if self.progress is not None:
            self.progress(
                TrainingProgress(
                    epoch=session.epoch,
                    epochs=session.recipe.epochs,
                    step=session.step,
                    steps=self.batches.steps,
                    train_loss=sums.loss / session.step,
                    val_accuracy=self.val_accuracy,
                    images_per_second=session.step * self.batches.size / sums.seconds,
                )
            )

    def _keep(self, line: dict[str, Any]) -> None:
        """Log the epoch that ended, then save: a run killed in between drops the line when it resumes."""
        session = self.session
        if session.accelerator.is_main_process:
            self.run.append_log(line)
        if session.epoch % session.recipe.checkpoint_every == 0 or session.epoch == session.recipe.epochs:
            self._save()

    def _stop_if(self, stop: StopRequest) -> None:
        """Save and leave when this or another process was asked to stop."""
        session, accelerator = self.session, self.session.accelerator
        if stop.requested:
            accelerator.set_trigger()
        alone = accelerator.num_processes == 1
        if stop.requested if alone else accelerator.check_trigger():
            self._save()
            raise TrainingInterrupted(
                f"stopped in epoch {session.epoch}, step {session.step} (both from 0); the state is saved, resume continues it"
            )

    def _save(self) -> None:
        self.session.save(self.run)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Within the context torch uses that many CPU threads; None leaves them as they are."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
