"""Several 1 x 1 convolutions of one map as one: it is read once, and a convolution to few channels wastes most of a CPU's width.

The modules keep their parameters and names; where one of them is hooked, replaced, parametrised or no plain 1 x 1, all are called.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def project(x: Tensor, maps: Sequence[nn.Module]) -> tuple[Tensor, ...]:
    """What each of `maps` makes of x (B, C, H, W)."""
    if x.device.type != "cpu" or not all(plain(one) for one in maps):
        return tuple(one(x) for one in maps)
    widths = [one.out_channels for one in cast(Sequence[nn.Conv2d], maps)]
    return F.conv2d(x, *joined(maps)).split(widths, dim=1)


def check_map(x: Tensor) -> None:
    """Raise ValueError unless x has the axes of a batch of maps."""
    if x.ndim != 4:
        raise ValueError(f"maps and images are (B, C, H, W), a single one is x[None]; got shape {tuple(x.shape)}")


def joined(maps: Sequence[nn.Module]) -> tuple[Tensor, Tensor | None]:
    """Weights and biases of `plain` modules as those of one; zeros for a bias that one lacks, None where all do."""
    convolutions = cast(Sequence[nn.Conv2d], maps)
    # no get_parameter: within torch.func.functional_call they are tensors, but not parameters
    weights, biases = [one.weight for one in convolutions], [one.bias for one in convolutions]
    if all(bias is None for bias in biases):
        return torch.cat(weights), None
    whole = [
        weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in zip(weights, biases, strict=True)
    ]
    return torch.cat(weights), torch.cat(whole)


def plain(module: nn.Module) -> bool:
    """Whether a module is an unhooked 1 x 1 (x 1) convolution, so that its parameters say what it computes."""
    if hooked(module) or not (type(module) is nn.Conv2d or type(module) is nn.Conv3d):
        return False
    shape = (module.kernel_size, module.stride, module.padding, module.groups)
    return shape in (((1, 1), (1, 1), (0, 0), 1), ((1, 1, 1), (1, 1, 1), (0, 0, 0), 1))


def hooked(module: nn.Module) -> bool:
    """Whether somebody hooked a module, who waits for it to be called."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)
