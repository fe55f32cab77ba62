"""The compiled kernels cpu.cpp as a torch operator, `torch.ops.sightline.criss_cross_attention`: float32 and bfloat16 on the CPU.

They read channels side by side: operands in channels_last (slices of one projection too) are read where they are, others copied.
Nothing of size H W (H + W) is kept for backward, which computes the weights again: D / (D + E) of the forward products.
"""

import torch
from torch import Tensor

from sightline.ops import native
from sightline.ops.criss_cross_attention import reference
from sightline.ops.criss_cross_attention.cost import cost
from sightline.ops.native import operator

OPERATOR = True
SCHEMA = "(Tensor query, Tensor key, Tensor value)"
GROUP_FLOATS = 1 << 21  # scratch of the backward pass: images of that many products at a time, one at least


def objection(query: Tensor, key: Tensor, value: Tensor) -> str | None:
    """Why the kernels can not run these operands; None when they can."""
    return operator.objection(query, key, value)


def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """See `sightline.ops.criss_cross_attention`."""
    return torch.ops.sightline.criss_cross_attention(query, key, value)


def forward(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Run the forward kernel."""
    y = empty(query, key, value)
    out = _writable(y)
    statistics = query.new_empty(y.shape[0], 2, y.shape[2:].numel(), dtype=torch.float32)
    _call("criss_cross_attention", (query, key, value), (out, None, None, None), statistics, None, group=1)
    return y if out is y else y.copy_(out)


def backward(needed, grad, query, key, value) -> list[Tensor | None]:
    """Run the backward kernel: gradients of the three operands, None where they are not needed."""
    gradients = [torch.empty_like(one) if want else None for one, want in zip((query, key, value), needed, strict=True)]
    out = [None if one is None else _writable(one) for one in gradients]
    grid = grad.shape[2:]
    pixels = grid.numel()
    products = sum(pixels * _pitch(length) for length in grid)
    group = max(min(grad.shape[0], GROUP_FLOATS // max(products, 1)), 1)
    sizes = (group * products,), (group, len(grid), pixels, 3)
    scratch = [grad.new_empty(size, dtype=torch.float32) for size in sizes]
    _call("criss_cross_attention_backward", (query, key, value), (grad, *out), scratch[1], scratch[0], group)
    for one, wide in zip(gradients, out, strict=True):
        if one is not None and wide is not None and wide is not one:
            one.copy_(wide)
    return gradients


def _call(kernel, operands, maps, statistics, products, group) -> None:
    """The fields of `Arguments` in cpu.cpp, in order."""
    query, _, value = operands
    if 0 in query.shape[2:]:
        return  # maps without a pixel: nothing to write, and the kernels divide by their rows and columns
    read = [_readable(one) for one in operands]
    written = [_readable(maps[0]) if kernel.endswith("backward") else maps[0], *maps[1:]]
    fields = [field for one in (*read, *written) for field in _map(one)]
    addresses = statistics.data_ptr(), 0 if products is None else products.data_ptr()
    size = (1, *query.shape[2:])[-3:]
    native.call(
        kernel, *fields, *addresses, query.shape[0], *size, query.shape[1], value.shape[1], query.ndim - 2, group
    )


def _map(tensor: Tensor | None) -> tuple[int, ...]:
    """Address, is it bfloat16, strides of batch, channels, frames, rows and columns; all zero for None."""
    if tensor is None:
        return (0,) * 7
    batch, channels, *grid = tensor.stride()
    return (tensor.data_ptr(), tensor.dtype is torch.bfloat16, batch, channels, *(0, *grid)[-3:])


def _readable(tensor: Tensor) -> Tensor:
    """The tensor with its channels side by side."""
    return tensor if tensor.stride(1) == 1 or tensor.shape[1] == 1 else tensor.contiguous(memory_format=_last(tensor))


def _writable(tensor: Tensor) -> Tensor:
    """The tensor itself if the kernel can write to it, otherwise one like it, float32 and channels side by side."""
    if tensor.dtype is torch.float32 and (tensor.stride(1) == 1 or tensor.shape[1] == 1):
        return tensor
    return torch.empty_like(tensor, dtype=torch.float32, memory_format=_last(tensor))


def _last(tensor: Tensor) -> torch.memory_format:
    return torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d


def _pitch(length: int) -> int:
    """At least the floats of a row of a line's products, for any width of vectors; see `Arguments::pitch` in cpu.cpp."""
    return -(-length // 16) * 16 + 16


def empty(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """An output of the right shape, in the query's dtype; channels_last where the value's channels lie side by side."""
    last = value.stride(1) == 1 and not value.is_contiguous()
    kept = _last(value) if last else torch.contiguous_format
    return torch.empty(value.shape, dtype=query.dtype, device=query.device, memory_format=kept)


def flops(query, key, value, **_named) -> int:
    """Floating-point operations for shapes, as torch's counter wants them: two a multiply-add of the closed form."""
    query, key, value = (torch.empty(one, device="meta") for one in (query, key, value))
    return 2 * cost(query, key, value).macs


operator.register("criss_cross_attention", SCHEMA, forward, backward, empty, flops, reference.run)
