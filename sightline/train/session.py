"""Everything of a run that changes while it trains: weights, averages, optimiser, position; one step; save and restore.

Ours: before each step the random number generators are seeded from (seed, epoch, step, process), so a resumed run needs no stored
generator states, and nothing that draws numbers between the steps (a callback, a library) can change a result.
Legend: B images of a part of the batch.
"""

import math
import random
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sightline.data import derive_seed
from sightline.recipes import Recipe
from sightline.runs import CHECKPOINT, RunFolder
from sightline.train.average import WeightAverage
from sightline.train.checkpoint import save_checkpoint
from sightline.train.nonfinite import NonFiniteLossError, first_nonfinite, first_nonfinite_gradient
from sightline.train.objectives import Objective
from sightline.train.optimize import build_optimizer, set_learning_rate
from sightline.train.teacher import Teacher

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Sums:
    """What the log is made of. The first three begin anew each epoch, the others run on; times in seconds."""

    loss: float = 0.0
    seconds: float = 0.0  # of training steps
    waiting: float = 0.0  # for images, read and augmented
    total_images: int = 0
    total_step_seconds: float = 0.0
    total_seconds: float = 0.0  # steps and validation

    def add_step(self, loss: float, images: int, waiting: float, seconds: float) -> None:
        """Note one step."""
        self.loss += loss
        self.waiting += waiting
        self.seconds += seconds
        self.total_images += images
        self.total_step_seconds += seconds
        self.total_seconds += seconds

    def begin_epoch(self) -> None:
        """Forget the epoch that was logged."""
        self.loss = self.seconds = self.waiting = 0.0


class Session:
    """A model in training.

    Args:
        model: on its device once here; `prepared` is what runs (wrapped for several processes).
        recipe: the run.
        accelerator: device and processes.
        teacher: of a distillation.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, accelerator: Accelerator, teacher: Teacher | None) -> None:
        self.model, self.recipe, self.accelerator = model.to(accelerator.device), recipe, accelerator
        if recipe.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.grad_checkpointing:
            _recompute_activations(self.model)
        self._wrap()
        self._forward = torch.compile(self.prepared) if recipe.compile else self.prepared
        self.optimizer = build_optimizer(self.model, recipe)
        self.parameters = list(self.model.parameters())
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=recipe.precision == "fp16")
        self.teacher = teacher.to(accelerator.device) if teacher is not None else None
        self.objective = Objective(recipe.distillation, recipe.distillation_alpha, recipe.distillation_tau)
        self.epoch = self.step = 0
        self.sums = Sums()
        self._culprit = ""  # what was not finite in this process's part of the step

    def _wrap(self) -> None:
        """What runs forward, and the average; in this order, since wrapping gives the model other buffers to follow."""
        self.prepared = self.accelerator.prepare(self.model)
        self.average = WeightAverage(self.model, self.recipe.ema) if self.recipe.ema is not None else None

    @property
    def weights(self) -> nn.Module:
        """The model to evaluate and to keep: the averaged weights when there are any."""
        return self.average.module if self.average is not None else self.model

    def seed_step(self) -> None:
        """Seed all global generators for the step ahead; what is drawn from them in the model differs between the processes."""
        position = (self.epoch, self.step, self.accelerator.process_index)
        seed_everything(derive_seed(self.recipe.seed, "step", *position))

    def take_step(self, parts: list[tuple[Tensor, Tensor]], rate: float) -> float:
        """One optimiser step over the parts of this process's share of the batch; returns their mean loss.

        Args:
            parts: (images (B, 3, H, W), targets) pairs of equal size.
            rate: learning rate.

        Raises:
            NonFiniteLossError: the loss or its gradient is not finite; the weights are as they were.
        """
        set_learning_rate(self.optimizer, rate)
        if not self.model.training:
            self.prepared.train()
        loss = 0.0
        for number, (images, targets) in enumerate(parts, 1):
            with self.accelerator.no_sync(self.prepared) if number < len(parts) else nullcontext():
                part = self._loss(images, targets)
                self.scaler.scale(part / len(parts)).backward()
            loss += part.item() / len(parts)
        self._update()
        self.step += 1
        return loss

    def from_all(self, value: float) -> list[float]:
        """The value of every process, in their order; all of them have to ask."""
        if self.accelerator.num_processes == 1:
            return [value]
        own = torch.tensor([value], dtype=torch.float64, device=self.accelerator.device)
        return self.accelerator.gather(own).tolist()

    def _loss(self, images: Tensor, targets: Tensor) -> Tensor:
        with self._precision():
            teaching = self.teacher(images) if self.teacher is not None else None
            loss = self.objective(self._outputs(images, targets), targets, teaching)
            if not loss.isfinite():
                self._note(f"the loss is not finite: {self._where(images)}")
        return loss

    def _outputs(self, images: Tensor, targets: Tensor) -> Any:
        """What the objective compares with the targets; pre-training gives them to the model."""
        return self._forward(images)

    def _update(self) -> None:
        self.scaler.unscale_(self.optimizer)
        largest = math.inf if self.recipe.clip_grad is None else self.recipe.clip_grad
        norm = nn.utils.clip_grad_norm_(self.parameters, largest)
        # with a scaler, an infinite gradient is routine: the scaler skips the step and lowers its scale
        if not self.scaler.is_enabled() and not norm.isfinite():
            raise self._failure(self._culprit or self._nonfinite_gradient())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()

    def _where(self, images: Tensor) -> str:
        """The first layer that is not finite."""
        return first_nonfinite(self.model, images)

    def _note(self, culprit: str) -> None:
        """A loss is not finite. Alone, stop; else go on to the gradients, which carry it to all processes, so that all stop."""
        if self.accelerator.num_processes == 1 or self.scaler.is_enabled():
            raise self._failure(culprit)
        self._culprit = self._culprit or culprit

    def _nonfinite_gradient(self) -> str:
        culprit = first_nonfinite_gradient(self.model)
        if self.accelerator.num_processes == 1:
            return culprit
        return f"{culprit} after averaging over the processes; the process whose images did it names the layer"

    def _failure(self, culprit: str) -> NonFiniteLossError:
        return NonFiniteLossError(self.epoch, self.step, culprit)

    def _precision(self) -> AbstractContextManager[object]:
        if self.recipe.precision == "no":
            return nullcontext()
        return torch.autocast(self.accelerator.device.type, DTYPES[self.recipe.precision])

    def save(self, run: RunFolder) -> None:
        """Write a checkpoint; all processes take part. Raises RunFolderError when the disk refuses."""
        state = self.state()
        if self.accelerator.is_main_process:
            save_checkpoint(run.file(CHECKPOINT), state)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "model": self.model.state_dict(),
            "ema": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "sums": asdict(self.sums),
            "losses": self.from_all(self.sums.loss),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint's state."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step, self.sums = state["epoch"], state["step"], Sums(**state["sums"])
        self.sums.loss = self._own(state.get("losses", [self.sums.loss]))

    def _own(self, losses: list[float]) -> float:
        """This process's sum of losses within the epoch; their mean when there were more or fewer processes."""
        if len(losses) == self.accelerator.num_processes:
            return losses[self.accelerator.process_index]
        return sum(losses) / len(losses)


def _recompute_activations(model: nn.Module) -> None:
    enable = getattr(model, "set_grad_checkpointing", None)
    if not callable(enable):
        raise ValueError(f"{type(model).__name__} can not recompute its activations; leave grad_checkpointing=no")
    enable(True)


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators, on the CPU and, once it is in use, on the GPU of this process."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(
        seed
    )  # torch.manual_seed takes a millisecond where CUDA is built in but not in use
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
