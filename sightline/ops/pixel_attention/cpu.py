"""The compiled kernels cpu.cpp as a torch operator, `torch.ops.sightline.pixel_attention`: float32 and bfloat16 on the CPU."""

import torch
from torch import Tensor

from sightline.ops import native
from sightline.ops.native import operator
from sightline.ops.pixel_attention import reference

OPERATOR = True
SCHEMA = "(Tensor pixels, Tensor bilinear, Tensor rows, Tensor cols, Tensor values, int kernel_size, bool exclude)"


def objection(*operands: Tensor, **options: object) -> str | None:
    """Why the kernels can not run these operands; None when they can."""
    return operator.objection(*operands)


def run(pixels, bilinear, rows, cols, values, *, kernel_size: int, border: str) -> Tensor:
    """See `sightline.ops.pixel_attention`."""
    return torch.ops.sightline.pixel_attention(pixels, bilinear, rows, cols, values, kernel_size, border == "exclude")


def definition(pixels, bilinear, rows, cols, values, kernel_size, exclude) -> Tensor:
    """The reference, called as the operator is: what a derivative of the gradient is taken of."""
    border = "exclude" if exclude else "zero"
    return reference.run(pixels, bilinear, rows, cols, values, kernel_size=kernel_size, border=border)


def forward(pixels, *rest) -> Tensor:
    """Run the forward kernel."""
    y = empty(pixels, *rest)
    _call("pixel_attention", pixels, y, None, rest, None)
    return y


def backward(needed, grad, pixels, *rest) -> list[Tensor | None]:
    """Run the backward kernel: the gradients of the five tensors, None where they are not needed."""
    tables = rest[:4]
    grad_pixels = torch.empty_like(pixels) if needed[0] else None
    sizes = [one.numel() for one in tables]
    grads = pixels.new_empty(sum(sizes), dtype=torch.float32)
    _call("pixel_attention_backward", pixels, grad, grad_pixels, rest, grads)
    found = [one.view(table.shape).to(table.dtype) for one, table in zip(grads.split(sizes), tables, strict=True)]
    return [grad_pixels, *(one.clone() if want else None for one, want in zip(found, needed[1:], strict=True))]


def _call(kernel: str, pixels: Tensor, output: Tensor, grad_pixels: Tensor | None, rest, grads: Tensor | None) -> None:
    """The fields of `Arguments` in cpu.cpp, in order."""
    *tables, kernel_size, exclude = rest
    tables = [operator.table(one) for one in tables]
    fields = [field for one in (pixels, output, grad_pixels) for field in native.view(one)]
    addresses = [0 if one is None else one.data_ptr() for one in (*tables, grads)]
    _, heads, depth, channels = tables[3].shape
    batch, _, height, width = pixels.shape
    native.call(kernel, *fields, *addresses, batch, heads, depth, channels, height, width, kernel_size, exclude)


def empty(pixels, bilinear, rows, cols, values, *options) -> Tensor:
    """An output of the right shape, channels last."""
    size = (pixels.shape[0], values.shape[1] * values.shape[2], *pixels.shape[2:])
    return torch.empty(size, dtype=pixels.dtype, device=pixels.device, memory_format=torch.channels_last)


def flops(pixels, bilinear, rows, cols, values, kernel_size, *_options, **_named) -> int:
    """Two a multiply-add: logits from the pixels and the offsets, values once a pixel, weights times values."""
    (batch, channels, height, width), (taps, heads, depth, _) = pixels, values
    logits = heads * channels * (channels + taps + 2 * kernel_size)
    return 2 * batch * height * width * (logits + heads * depth * (channels + taps))


operator.register("pixel_attention", SCHEMA, forward, backward, empty, flops, definition)
