"""The compiled kernels cpu.cpp as a torch operator, `torch.ops.sightline.vector_attention`: float32 and bfloat16 on the CPU.

A reflected border is padded here, by torch; the kernels then see windows that lie inside the padded value.
"""

import torch
from torch import Tensor

from sightline.ops import native, window
from sightline.ops.native import operator
from sightline.ops.precision import widen, without_autocast
from sightline.ops.vector_attention import reference

OPERATOR = True
BORDERS = ("zero", "exclude", "padded")
SCHEMA = "(Tensor logits, Tensor value, int kernel_size, int stride, int dilation, bool softmax, int border)"


def objection(logits: Tensor, value: Tensor, **options: object) -> str | None:
    """Why the kernels can not run these operands; None when they can."""
    return operator.objection(logits, value)


def outrun(logits: Tensor, value: Tensor, *, kernel_size: int, **options: object) -> bool:
    """On maps of no more pixels than the window has taps the dense product is faster."""
    return window.outrun_by_dense(value, kernel_size, as_many=True)


def run(logits, value, *, kernel_size, normalise, stride, dilation, border) -> Tensor:
    """See `sightline.ops.vector_attention`."""
    if border == "reflect":
        with without_autocast(value.device):  # it would pad in float32
            value, border = window.pad(value, (kernel_size // 2) * dilation, "reflect"), "padded"
    return torch.ops.sightline.vector_attention(
        logits, value, kernel_size, stride, dilation, normalise == "softmax", BORDERS.index(border)
    )


def forward(logits, value, *options) -> Tensor:
    """Run the forward kernel."""
    y = empty(logits, value, *options)
    _call("vector_attention", _planes(logits), value, y, None, None, *options)
    return y


def backward(needed, grad, logits, value, *options) -> list[Tensor | None]:
    """Run the backward kernel: gradients of logits and value, None where they are not needed."""
    grad_logits = torch.empty_like(logits, memory_format=torch.contiguous_format) if needed[0] else None
    # no window reaches the last rows and columns of some strided, padded maps
    grad_value = torch.zeros_like(value) if needed[1] else None
    _call("vector_attention_backward", _planes(logits), value, grad, _planes(grad_logits), grad_value, *options)
    return [grad_logits, grad_value]


def _planes(logits: Tensor | None) -> Tensor | None:
    """Logits (B, G, K*K, h, w) as a map (B, G*K*K, h, w)."""
    return None if logits is None else logits.flatten(1, 2)


def _call(kernel, logits, value, y, grad_logits, grad_value, kernel_size, stride, dilation, softmax, border) -> None:
    """The fields of `Arguments` in cpu.cpp, in order."""
    fields = [field for one in (logits, value, y, grad_logits, grad_value) for field in native.view(one)]
    groups = logits.shape[1] // (kernel_size * kernel_size)
    fields += [value.shape[0], groups, value.shape[1] // groups, *value.shape[2:]]
    native.call(kernel, *fields, kernel_size, stride, dilation, softmax, *[BORDERS[border] == b for b in BORDERS[1:]])


def empty(logits, value, *options) -> Tensor:
    """An output of the logits' grid, in the value's channels, dtype and memory format."""
    grid = value.new_empty(()).expand(value.shape[0], 1, *logits.shape[3:])
    return operator.empty_map(grid, value.shape[1], layout=value)


def flops(logits, value, *_options, **_named) -> int:
    """Floating-point operations for shapes, as torch's counter wants them: two a multiply-add."""
    batch, _, taps, rows, cols = logits
    return 2 * batch * value[1] * taps * rows * cols


def definition(logits, value, kernel_size, stride, dilation, softmax, border) -> Tensor:
    """The reference, called as the operator is: what a derivative of the gradient is taken of."""
    normalise, name = "softmax" if softmax else "none", BORDERS[border]
    geometry = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}
    if name != "padded":
        return reference.run(logits, value, normalise=normalise, border=name, **geometry)
    a, v = widen(logits, value)
    return reference.aggregate(a, v, normalise, window.views(v, logits.shape[3:], **geometry)).to(value.dtype)


operator.register("vector_attention", SCHEMA, forward, backward, empty, flops, definition)
