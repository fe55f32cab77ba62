"""Measure a model: images per second in inference and training, and the peak memory of a training step."""

import copy
import statistics
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from sightline.cost.timing import timed
from sightline.ops.precision import dtype_of


class PeakMemory(TorchDispatchMode):
    """Follow the storages that ops create inside the context; `peak` is the most bytes they held at once.

    Counts tensors, not the allocator's slack, so the number is the same on every machine and whatever ran before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.held = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in tree_iter(output):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return output

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.held -= size


def peak_memory(model: nn.Module, image_size: tuple[int, int], batch_size: int, in_chans: int = 3) -> int:
    """Bytes of activations and gradients that one training step holds at its peak, parameters included."""
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    images = torch.zeros(batch_size, in_chans, *image_size, dtype=dtype_of(model))
    model = copy.deepcopy(model)  # a training step changes the statistics of batch normalisation
    with PeakMemory() as memory:
        training_step(model, images)
    return memory.peak + parameters


def throughput(
    model: nn.Module,
    image_size: tuple[int, int],
    batch_size: int,
    training: bool,
    in_chans: int = 3,
    seconds: float = 1.0,
) -> float:
    """Images per second: median over repeated steps, at least three and about `seconds` in all, after one warm-up step."""
    model = copy.deepcopy(model)
    images = torch.rand(batch_size, in_chans, *image_size, dtype=dtype_of(model))
    step = training_step if training else inference
    step(model, images)
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        times.append(timed(lambda: step(model, images)))
    return batch_size / statistics.median(times)


def training_step(model: nn.Module, images: Tensor) -> None:
    """Forward and backward in training mode, without an optimiser; gradients are dropped."""
    model.train()
    output = model(images)
    outputs = output if isinstance(output, tuple) else (output,)
    torch.stack([one.float().square().mean() for one in outputs]).sum().backward()
    model.zero_grad(set_to_none=True)


def inference(model: nn.Module, images: Tensor) -> None:
    """Forward in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        model(images)
