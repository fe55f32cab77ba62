"""Averaged weights: a copy of the model that follows it, exponentially.

    average <- d average + (1 - d) weights,   d = min(decay, (1 + t) / (10 + t)) at the t-th update, t from 0

Ours: d warms up, so that short runs do not average over their random start; running statistics are averaged with the weights,
other buffers are copied. Own code instead of torch's AveragedModel: that walks all modules at every step, which takes a
sixth of a small net's step.
"""

import copy
from typing import Any

import torch
from torch import nn


def warmed_up(decay: float, updates: int) -> float:
    """d at the t-th update."""
    return min(decay, (1 + updates) / (10 + updates))


class WeightAverage:
    """The average of one model's parameters and buffers.

    Args:
        model: to be followed; its parameters must stay the objects they are.
        decay: 0..1; about 1 / (1 - decay) steps count.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.updates = decay, 0
        own = [*self.module.parameters(), *self.module.buffers()]
        followed = [*model.parameters(), *model.buffers()]  # not detached: wrapping a model may move its data elsewhere
        floats = [tensor.is_floating_point() for tensor in own]
        self._averages = [tensor for tensor, is_float in zip(own, floats, strict=True) if is_float]
        self._values = [tensor for tensor, is_float in zip(followed, floats, strict=True) if is_float]
        self._copies = [
            (copied, tensor) for copied, tensor, is_float in zip(own, followed, floats, strict=True) if not is_float
        ]

    @torch.no_grad()
    def update(self) -> None:
        """Follow the model by one step."""
        decay = warmed_up(self.decay, self.updates)
        torch._foreach_lerp_(self._averages, self._values, 1 - decay)
        for copied, tensor in self._copies:
            copied.copy_(tensor)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint's state."""
        self.module.load_state_dict(state["module"])
        self.updates = state["updates"]
