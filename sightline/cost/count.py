"""Count a model: parameters and multiply-adds, from the ops' closed forms and, for everything else, torch's own counter."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops.precision import dtype_of
from sightline.ops.tap import Cost, Tap

# modules that neither count nor change a shape: skipped, for on the meta device they take longer than the convolutions
FREE = {nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.ReLU, nn.GELU, nn.Dropout, nn.Identity}


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
    return count_spent(copy.deepcopy(model).to("meta"), image_size, in_chans)


def count_spent(model: nn.Module, image_size: Sequence[int], in_chans: int = 3) -> ModelCost:
    """`count` for a model on the meta device that was made only to be counted: it can not be used afterwards."""
    model.eval()
    counter = FlopCounterMode(display=False)
    calls, inside, started = [], [0], [0]

    def enter(tap: Tap, _operands: object) -> None:
        started[0] = counter.get_total_flops()

    def leave(tap: Tap, operands: tuple, options: dict, _output: object) -> None:
        inside[0] += counter.get_total_flops() - started[0]
        calls.append(OpCall(names[tap], tap.op.name, tap.cost(*operands, grid=options.get("grid"))))

    names = {module: name.removesuffix(".attend") for name, module in model.named_modules() if isinstance(module, Tap)}
    for module in model.modules():
        if type(module) in FREE:
            module.forward = _unchanged
    for tap in names:
        tap.forward = partial(_shaped, tap)
        tap.register_forward_pre_hook(enter)
        tap.register_forward_hook(leave, with_kwargs=True)
    height, width = image_size
    with counter, torch.no_grad():
        model(torch.empty(1, in_chans, height, width, device="meta", dtype=dtype_of(model)))
    outside = (counter.get_total_flops() - inside[0]) // 2
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return ModelCost(parameters, outside + sum(one.cost.macs for one in calls), (height, width), tuple(calls))


def _unchanged(x: Tensor) -> Tensor:
    return x


_outputs: dict[Any, Tensor] = {}


def _shaped(tap: Tap, *operands: Tensor | None, grid: tuple[int, int] | None = None) -> Tensor:
    """The op's output on the meta device, kept by the operands' shapes: nets repeat them, and the reference takes its time."""
    shapes = tuple(None if one is None else (one.shape, one.dtype) for one in operands)
    key = (tap.op.name, repr(tap.options), grid, shapes)
    if key not in _outputs:
        _outputs[key] = Tap.forward(tap, *operands, grid=grid)
    return _outputs[key]
