"""Count a model: parameters and multiply-adds, from the ops' closed forms and, for everything else, torch's own counter."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops.tap import Cost, Tap


@dataclass(frozen=True)
class OpCall:
    """One call of an attention op: the layer's name, the op's, its cost."""

    layer: str
    op: str
    cost: Cost


@dataclass(frozen=True)
class ModelCost:
    """Cost of one image.

    Args:
        parameters: trainable numbers.
        macs: multiply-adds of convolutions, matrix products and attention ops (a FLOP count is twice this).
        image_size: rows and columns.
        ops: the calls of attention ops, in order.
    """

    parameters: int
    macs: int
    image_size: tuple[int, int]
    ops: tuple[OpCall, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON: the fields, the ops flattened."""
        ops = [{"layer": one.layer, "op": one.op, **vars(one.cost)} for one in self.ops]
        return {"parameters": self.parameters, "macs": self.macs, "image_size": list(self.image_size), "ops": ops}


def count(model: nn.Module, image_size: Sequence[int], in_chans: int = 3) -> ModelCost:
    """Count a model for one image of image_size (rows, columns), on the meta device: nothing is computed, any size is quick.

    Normalisation, activations, pooling and softmax are not counted, as in the papers. The model itself is left alone.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    counter = FlopCounterMode(display=False)
    calls, inside, started = [], [0], [0]

    def enter(tap: Tap, _operands: object) -> None:
        started[0] = counter.get_total_flops()

    def leave(tap: Tap, operands: tuple, options: dict, _output: object) -> None:
        inside[0] += counter.get_total_flops() - started[0]
        calls.append(OpCall(names[tap], tap.op.name, tap.cost(*operands, grid=options.get("grid"))))

    names = {module: name.removesuffix(".attend") for name, module in shadow.named_modules() if isinstance(module, Tap)}
    for tap in names:
        tap.register_forward_pre_hook(enter)
        tap.register_forward_hook(leave, with_kwargs=True)
    height, width = image_size
    with counter, torch.no_grad():
        shadow(torch.empty(1, in_chans, height, width, device="meta"))
    outside = (counter.get_total_flops() - inside[0]) // 2
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return ModelCost(parameters, outside + sum(one.cost.macs for one in calls), (height, width), tuple(calls))
