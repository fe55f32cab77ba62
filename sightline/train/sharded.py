"""A session whose weights, gradients, averages and moments lie in pieces on the processes (FSDP2), for nets too large for one.

Blocks of at least 65,536 parameters are units, gathered one at a time; the rest is one unit. The optimiser is built on the pieces.
Checkpoints are folders to which each process writes its pieces; any number of processes reads them.

Source: torch's fully_shard and distributed checkpoint; Zhao et al. 2023, "PyTorch FSDP", arXiv 2304.11277.
Ours: for evaluation and at the end the weights, without gradients and moments, are gathered whole on every process. Buffers
      (running statistics) are those of the first process whenever they are saved or evaluated.
"""

import copy
import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from sightline.recipes import Recipe
from sightline.runs import RunFolder, RunFolderError
from sightline.train.average import warmed_up
from sightline.train.session import Session, Sums
from sightline.train.teacher import Teacher

SMALLEST_UNIT = 2**16
LAST, PREVIOUS = "checkpoints/last.sharded", "checkpoints/previous.sharded"


class ShardedAverage:
    """As `WeightAverage`, of tensors in pieces: each process averages its own.

    Args:
        model: sharded.
        decay: see `WeightAverage`.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.tensors = {key: value.detach().clone() for key, value in model.state_dict().items()}
        self.model, self.decay, self.updates = model, decay, 0

    @torch.no_grad()
    def update(self) -> None:
        """Follow the model by one step."""
        weight = 1 - warmed_up(self.decay, self.updates)
        for key, value in self.model.state_dict().items():
            average, own = (t.to_local() if isinstance(t, DTensor) else t for t in (self.tensors[key], value))
            average.lerp_(own, weight) if average.is_floating_point() else average.copy_(own)
        self.updates += 1


class ShardedSession(Session):
    """See `Session`; all processes call all methods.

    Raises:
        ValueError: there is one process, or the recipe asks for fp16, whose scaler knows no pieces.
    """

    average: ShardedAverage | None  # type: ignore[bad-override]

    def __init__(self, model: nn.Module, recipe: Recipe, accelerator: Accelerator, teacher: Teacher | None) -> None:
        if accelerator.num_processes == 1:
            raise ValueError(
                "sharded=yes takes several processes; start it with torchrun --nproc-per-node, or set sharded=no"
            )
        if recipe.precision == "fp16":
            raise ValueError("sharded=yes takes precision=bf16 or no; got fp16")
        super().__init__(model, recipe, accelerator, teacher)

    def _wrap(self) -> None:
        self.whole = copy.deepcopy(self.model).cpu().requires_grad_(False)
        mesh = init_device_mesh(self.accelerator.device.type, (self.accelerator.num_processes,))
        for unit in units(self.model):
            fully_shard(unit, mesh=mesh)
        fully_shard(self.model, mesh=mesh)
        self.average = ShardedAverage(self.model, self.recipe.ema) if self.recipe.ema is not None else None
        self.prepared = self.model

    @property
    def weights(self) -> nn.Module:
        """The weights to evaluate, gathered whole on every process."""
        self._agree_on_buffers()
        pieces = self.average.tensors if self.average is not None else self.model.state_dict()
        self.whole.load_state_dict({key: _whole(value) for key, value in pieces.items()})
        return self.whole.to(self.accelerator.device)

    def _where(self, images: Tensor) -> str:
        return "in a sharded net the layer is not looked for"  # one process alone can not run it

    def _agree_on_buffers(self) -> None:
        for buffer in self.model.buffers():
            dist.broadcast(buffer, 0)
        if self.average is not None:
            for tensor in self.average.tensors.values():
                if not isinstance(tensor, DTensor):
                    dist.broadcast(tensor, 0)

    def _content(self) -> dict[str, Any]:
        model, optimizer = get_state_dict(self.model, self.optimizer)
        position = {"epoch": self.epoch, "step": self.step, "sums": asdict(self.sums)}
        position["losses"] = self.from_all(self.sums.loss)
        average = {"tensors": self.average.tensors, "updates": self.average.updates} if self.average is not None else {}
        return {"model": model, "optimizer": optimizer, "average": average, "position": json.dumps(position)}

    def save(self, run: RunFolder) -> None:
        """Write a checkpoint beside and rename it; the one before stays. Raises RunFolderError when the disk refuses."""
        self._agree_on_buffers()
        last, previous = run.file(LAST), run.file(PREVIOUS)
        beside = last.with_name(f".{last.name}.part")
        if self.accelerator.is_main_process:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        try:
            dcp.save(self._content(), checkpoint_id=beside)
        except Exception as error:  # it carries the faults of all processes
            raise RunFolderError(f"cannot write {last}: {error}. What was saved before is intact") from error
        if self.accelerator.is_main_process:
            for file in beside.iterdir():
                _flush(file)
            shutil.rmtree(previous, ignore_errors=True)
            with suppress(FileNotFoundError):
                os.replace(last, previous)
            os.replace(beside, last)
        self.accelerator.wait_for_everyone()

    @staticmethod
    def saved(run: RunFolder) -> bool:
        """Is there a checkpoint?"""
        return any(run.file(name).is_dir() for name in (LAST, PREVIOUS))

    def load(self, run: RunFolder) -> None:
        """Go back to the last checkpoint. Raises RunFolderError when it can not be read."""
        path = next(run.file(name) for name in (LAST, PREVIOUS) if run.file(name).is_dir())
        content = self._content()
        try:
            dcp.load(content, checkpoint_id=path)
        except Exception as error:
            raise RunFolderError(f"{path} is damaged: {error}. Delete it to go on from the one before") from error
        set_state_dict(
            self.model, self.optimizer, model_state_dict=content["model"], optim_state_dict=content["optimizer"]
        )
        if self.average is not None:
            self.average.updates = content["average"]["updates"]
        position = json.loads(content["position"])
        self.epoch, self.step, self.sums = position["epoch"], position["step"], Sums(**position["sums"])
        self.sums.loss = self._own(position["losses"])
        if self.epoch == self.step == 0:
            self.optimizer.state.clear()  # torch fills in an empty one, with a first step done


def units(model: nn.Module) -> list[nn.Module]:
    """The modules that are gathered as one: elements of the outermost lists and sequences that are large enough."""
    found: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.ModuleList | nn.Sequential):
            found += [part for part in child if sum(p.numel() for p in part.parameters()) >= SMALLEST_UNIT]
        else:
            found += units(child)
    return found


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _flush(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
