"""Several 1 x 1 convolutions of one map as one: it is read once, and a convolution to few channels wastes most of a CPU's width.

The modules keep their parameters and names; where one of them is hooked, replaced, parametrised or no plain 1 x 1, all are called.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def project(x: Tensor, maps: Sequence[nn.Module]) -> tuple[Tensor, ...]:
    """What each of `maps` makes of x (B, C, H, W)."""
    if x.device.type != "cpu" or not all(plain(one) for one in maps):
        return tuple(one(x) for one in maps)
    weights = torch.cat([one.get_parameter("weight") for one in maps])
    biases = [bias_of(one) for one in maps]
    bias = None if all(one.bias is None for one in maps) else torch.cat(biases)
    return F.conv2d(x, weights, bias).split([len(one) for one in biases], dim=1)


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


def bias_of(module: nn.Module) -> Tensor:
    """The bias of a convolution, zeros where it has none."""
    weight = module.get_parameter("weight")
    return weight.new_zeros(weight.shape[0]) if module.bias is None else module.get_parameter("bias")
