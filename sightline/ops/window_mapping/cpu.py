"""The compiled kernels cpu.cpp as a torch operator, `torch.ops.sightline.window_mapping`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops import native
from sightline.ops.native import operator
from sightline.ops.relation_mapping.cpu import BatchNorm, affine
from sightline.ops.window_mapping import reference

SCHEMA = (
    "(Tensor around, Tensor gain, Tensor offset, Tensor weight, Tensor moments, int kernel_size, float eps, bool batch)"
)


def forward(around, gain, offset, weight, moments, kernel_size, eps, batch) -> Tensor:
    """Run the forward kernel."""
    y = empty(around, gain, offset, weight, moments, kernel_size)
    around, weight, gain, offset, moments = map(operator.table, (around, weight, gain, offset, moments))
    _call("window_mapping", around, affine(gain, offset, moments, eps), weight, y, None, None, None, kernel_size)
    return y


def backward(needed, grad, around, gain, offset, weight, moments, kernel_size, eps, batch) -> list[Tensor | None]:
    """Run the backward kernel: the gradients of all but the moments, None where they are not needed."""
    operands = (around, gain, offset, weight, moments)
    around, gain, offset, weight, moments, grad = map(operator.table, (*operands, grad))
    outputs, taps = weight.shape
    grad_around, grad_weight, sums = (
        torch.empty_like(around),
        weight.new_empty(taps, outputs),
        weight.new_empty(taps, 2),
    )
    scales = affine(gain, offset, moments, eps)
    _call("window_mapping_backward", around, scales, weight, grad, grad_around, grad_weight, sums, kernel_size)
    count = grad.shape[0] * grad.shape[2] * grad.shape[3]
    grad_gain, (_, shift, slope) = BatchNorm(gain, moments, eps, batch, count).backward(sums[:, 0], sums[:, 1])
    if batch:
        grad_around += _by_reader(shift, grad, kernel_size) + around * _by_reader(slope, grad, kernel_size)
    found = (grad_around, grad_gain, sums[:, 0], grad_weight.T, None)
    pairs = zip(found, operands, needed, strict=True)
    return [one.to(operand.dtype) if want and one is not None else None for one, operand, want in pairs]


def _by_reader(x: Tensor, queries: Tensor, side: int) -> Tensor:
    """Sum x (D*K*K) over the taps that read a pixel: (1, D, h + K - 1, w + K - 1)."""
    kernels = x.view(-1, 1, side, side)
    ones = queries.new_ones(1, kernels.shape[0], *queries.shape[2:])
    return F.conv_transpose2d(ones, kernels, groups=kernels.shape[0])


def _call(kernel, around, scales, weight, hidden, grad_around, grad_weight, sums, kernel_size) -> None:
    """The fields of `Arguments` in cpu.cpp, in order."""
    tensors = (around, *scales, weight, hidden, grad_around, grad_weight, sums)
    addresses = [0 if one is None else one.data_ptr() for one in tensors]
    native.call(kernel, *addresses, *around.shape[:2], weight.shape[0], kernel_size, *hidden.shape[2:])


def empty(around, gain, offset, weight, moments, kernel_size, *_options) -> Tensor:
    """An output of the right shape, float32."""
    rows, cols = (size - kernel_size + 1 for size in around.shape[2:])
    return around.new_empty(around.shape[0], weight.shape[0], rows, cols, dtype=torch.float32)


def flops(around, gain, offset, weight, moments, kernel_size, *_options, **_named) -> int:
    """Two a multiply-add of the linear map."""
    rows, cols = (size - kernel_size + 1 for size in around[2:])
    return 2 * around[0] * weight[0] * weight[1] * rows * cols


operator.register("window_mapping", SCHEMA, forward, backward, empty, flops, reference.run)
