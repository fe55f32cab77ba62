"""The dtype rule of all references: compute in float32 or wider, return the query's dtype; and the dtype of a model."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

_DEVICES = ("cpu", "cuda", "xpu", "mps", "hpu", "mtia", "xla", "maia", "ipu")
_AUTOCASTS = frozenset(  # asked once: torch 2.11 can not compile the question
    name for name in _DEVICES if torch.amp.is_autocast_available(name)
)


def widen(*tensors: Tensor | None) -> list[Any]:
    """Cast the given tensors (None stays None) to their common float dtype, float32 at least."""
    dtype = torch.float32
    for tensor in tensors:
        if tensor is not None:
            dtype = torch.promote_types(dtype, tensor.dtype)
    return [None if tensor is None else tensor.to(dtype) for tensor in tensors]


def dtype_of(model: nn.Module) -> torch.dtype:
    """The type of a model's first parameter that has fractions; float32 for a model without one."""
    return next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast leaves our widened operands alone; free when autocast is off."""
    if device.type in _AUTOCASTS and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
