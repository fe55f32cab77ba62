"""One pass of recurrent criss-cross attention through compiled kernels, with as few maps alive as its gradients need.

    y = x + gamma * attend(q, k, v),    [q, k, v] = W x + b

Kept for backward is x; q, k and v are made again. With g the gradient of y, and dq, dk, dv those of the attention for g itself:
    dx = g + gamma W^T [dq, dk, dv],    dW = gamma [dq, dk, dv] x^T,    db = gamma sum [dq, dk, dv],    dgamma = sum of v * dv
Source: the formula is CCNet's; see `sightline.layers.criss_cross`.
Ours:   attention is linear in v, so the sum of g * attend(...) is that of v * dv, and its result need not be kept. Making q, k
        and v again costs a tenth of the time and saves a map and a quarter a pass. The products with x read it in either memory
        format; all other maps have their channels side by side.
Legend: B batch, C channels, D query_channels, K = 2 D + C, N pixels.
"""

from typing import Any

import torch
from torch import Tensor

from sightline.layers.projection import hooked
from sightline.ops.criss_cross_attention import criss_cross_attention
from sightline.ops.dispatch import kernels_allowed
from sightline.ops.native import operator
from sightline.ops.tap import Tap


def possible(attend: Tap, *tensors: Tensor) -> bool:
    """Whether passes may run here: float32 on the CPU, by the kernels, operands and result of `attend` wanted by nobody."""
    if hooked(attend) or torch.compiler.is_compiling() or not kernels_allowed(attend.options["backend"]):
        return False
    narrow = torch.is_autocast_enabled("cpu") or any(one.dtype is not torch.float32 for one in tensors)
    return not narrow and operator.objection(*tensors) is None


def passes(x: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, times: int) -> Tensor:
    """x (B, C, [T,] H, W) after so many passes, in channels_last; weight (K, C, 1, ...) and bias (K,) make q, k and v."""
    weight = weight.flatten(1)
    if torch.is_grad_enabled() and any(one.requires_grad for one in (x, weight, bias, gamma)):
        for _ in range(times):
            x = Pass.apply(x, weight, bias, gamma)
        return x
    projected = None
    for _ in range(times):
        x, projected = step(x, weight, bias, gamma, projected)
    return x


def step(x: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One pass, and its projections (B, N, K), written to `out` where there is one of a former pass."""
    projected = project(x, weight, bias, out)
    y = criss_cross_attention(*split(projected, x, weight))
    return torch.addcmul(x, gamma, y, out=y), projected


def project(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None = None) -> Tensor:
    """Queries, keys and values of every pixel, (B, N, K)."""
    return torch.baddbmm(bias, pixels(x), weight.mT.expand(len(x), -1, -1), out=out)


def pixels(x: Tensor) -> Tensor:
    """(B, C, [T,] H, W) as (B, N, C), without a copy in both memory formats."""
    return x.flatten(2).mT


def split(projected: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    """q, k and v of (B, N, K), as maps of the grid of x."""
    channels, depth = weight.shape[1], (weight.shape[0] - weight.shape[1]) // 2
    return projected.mT.unflatten(2, x.shape[2:]).split([depth, depth, channels], dim=1)


class Pass(torch.autograd.Function):
    """`step` with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, bias, gamma)
        return step(x, weight, bias, gamma)[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = gradients
        x, weight, bias, gamma = ctx.saved_tensors
        if torch.is_grad_enabled() or operator.mapped(g):  # create_graph=True; many gradients at once
            needed = list(ctx.needs_input_grad)
            return tuple(operator.differentiable(definition, needed, g, (x, weight, bias, gamma), ()))
        wanted = ctx.needs_input_grad
        owned = side_by_side(g)
        q, k, v = split(project(x, weight, bias), x, weight)
        found = torch.ops.sightline.criss_cross_attention_backward([True] * 3, owned, q, k, v)
        grad_gamma = _product(v, found[2]).reshape(gamma.shape) if wanted[3] else None
        del q, k, v
        grad_x = owned if owned is not g else g.clone()
        for part, gradient in zip(weight.split([one.shape[1] for one in found]), found, strict=True):
            side = pixels(grad_x)
            torch.baddbmm(side, pixels(gradient), (gamma * part).expand(len(x), -1, -1), out=side)
        return (
            grad_x if wanted[0] else None,
            gamma * torch.cat([_outer(one, x) for one in found]) if wanted[1] else None,
            gamma * torch.cat([pixels(one).sum((0, 1)) for one in found]) if wanted[2] else None,
            grad_gamma,
        )


def side_by_side(x: Tensor) -> Tensor:
    """x with its channels side by side; itself where they are."""
    return x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)


def definition(x: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor) -> Tensor:
    """A pass in operations that can be differentiated twice."""
    projected = bias + pixels(x) @ weight.mT
    return torch.addcmul(x, gamma, criss_cross_attention(*split(projected, x, weight)))


def _outer(gradient: Tensor, x: Tensor) -> Tensor:
    """Sum over images and pixels of gradient x^T, channels by channels."""
    return torch.bmm(pixels(gradient).mT, pixels(x)).sum(0)


def _product(one: Tensor, other: Tensor) -> Tensor:
    """Sum of one * other, row by row: their product is a map that nobody needs at once."""
    rows = [(a * b).sum() for a, b in zip(one.split(8, dim=2), other.split(8, dim=2), strict=True)]
    return torch.stack(rows).sum()
