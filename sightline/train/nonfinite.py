"""When the loss or its gradient is not finite: find the first layer that made it so, before the weights are touched."""

from typing import Any

import torch
from torch import Tensor, nn

ADVICE = "The last checkpoint is kept; try a smaller lr, a longer warm-up, a smaller clip_grad, or precision=no"


class NonFiniteLossError(RuntimeError):
    """Training stopped because its loss or gradient was NaN or infinite.

    Args:
        epoch: counted from 0.
        step: of the epoch, counted from 0.
        culprit: what was not finite and where it first was, see `first_nonfinite`.
    """

    def __init__(self, epoch: int, step: int, culprit: str) -> None:
        super().__init__(f"training stopped in epoch {epoch}, step {step} (both from 0): {culprit}. {ADVICE}")
        self.epoch, self.step, self.culprit = epoch, step, culprit


@torch.no_grad()
def first_nonfinite(model: nn.Module, images: Tensor) -> str:
    """Run the batch once more and say where the first NaN or infinity appears: images, a parameter, a layer, or the loss.

    Layers are named as in `model.named_modules()`; a container is named only when none of its own layers is at fault.
    """
    if not images.isfinite().all():
        return "the images of the batch are not finite"
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return f"{name} is not finite, the step before broke it"
    found: list[str] = []
    handles = [module.register_forward_hook(_watch(name, found)) for name, module in model.named_modules()]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return (
        f"layer {found[0]} is the first whose output is not finite"
        if found
        else "all layers are finite, the loss is not"
    )


def first_nonfinite_gradient(model: nn.Module) -> str:
    """The first parameter, in the order of the model, whose gradient holds NaN or infinity."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return f"the gradient of {name} is not finite"
    return "the norm of the gradient is not finite, though every entry is"


def _watch(name: str, found: list[str]) -> Any:
    def look(module: nn.Module, _inputs: Any, output: Any) -> None:
        if not found and not all(t.isfinite().all() for t in _tensors(output)):
            found.append(f"{name or 'the model itself'} ({type(module).__name__})")

    return look


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, tuple | list):
        return [tensor for part in output for tensor in _tensors(part)]
    return []
