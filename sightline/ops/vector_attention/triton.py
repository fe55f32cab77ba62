"""The Triton kernels as a torch operator, `torch.ops.sightline.triton_vector_attention`: float32, bfloat16 and float16 on a GPU.

A reflected border is padded here, by torch; the kernels then see windows that lie inside the padded value. Backward gathers
without atomics.
"""

from typing import Any

import torch
from torch import Tensor

from sightline.ops import triton_support as support
from sightline.ops import window
from sightline.ops.native import operator
from sightline.ops.precision import without_autocast
from sightline.ops.triton_support import power_of_two
from sightline.ops.vector_attention import cpu

OPERATOR = True
WIDEST = 64  # channels that share a weight
TOGETHER = 8  # weight groups a program takes, whose channels lie side by side in channels_last
ELEMENTS = 8192  # of a tile's window row: positions, taps, channels
CHOICES = ({"num_warps": 4}, {"num_warps": 8})
NAME = "triton_vector_attention"


def objection(logits: Tensor, value: Tensor, **options: Any) -> str | None:
    """Why the kernels can not run these operands; None when they can."""
    if (reason := support.objection(logits, value)) is not None:
        return reason
    share = value.shape[1] // logits.shape[1]
    if share > WIDEST:
        return f"it takes up to {WIDEST} channels a weight; got {share}"
    return support.too_far(logits, value)


def outrun(*operands: Any, **options: Any) -> bool:
    """The interpreter is slower than anything."""
    return support.INTERPRETING


def run(logits, value, *, kernel_size, normalise, stride, dilation, border) -> Tensor:
    """See `sightline.ops.vector_attention`."""
    if border == "reflect":
        with without_autocast(value.device):  # it would pad in float32
            value, border = window.pad(value, (kernel_size // 2) * dilation, "reflect"), "padded"
    options = (kernel_size, stride, dilation, normalise == "softmax", cpu.BORDERS.index(border))
    return torch.ops.sightline.triton_vector_attention(logits, value, *options)[0]


def forward(logits, value, *options) -> tuple[Tensor, Tensor]:
    """Run the forward kernel: the answer, and of every softmax the largest logit and the inverse of the sum (B, G, h, w, 2)."""
    y, statistics = empty(logits, value, *options)
    if y.numel():
        _launch("forward", y, (logits, value, y, statistics), (logits, value, y), logits, value, *options)
    return y, statistics


def backward(needed, grad, y, statistics, logits, value, *options) -> list[Tensor | None]:
    """Run the backward kernels: gradients of logits and value, None where they are not needed."""
    d_logits, d_value = (
        torch.empty_like(one) if want else None for one, want in zip((logits, value), needed, strict=True)
    )
    if d_logits is not None and d_logits.numel():
        tensors, maps = (logits, value, statistics, grad, d_logits), (logits, value, grad, d_logits)
        _launch("backward_logits", grad, tensors, maps, logits, value, *options)
    if d_value is not None and d_value.numel():
        _launch(
            "backward_values",
            value,
            (logits, statistics, grad, d_value),
            (logits, grad, d_value),
            logits,
            value,
            *options,
        )
    return [d_logits, d_value]


def _launch(name, grid, tensors, maps, logits, value, kernel_size, stride, dilation, softmax, border) -> None:
    """Start a kernel on tiles of `grid`."""
    from sightline.ops.vector_attention import kernels

    groups, share = logits.shape[1], value.shape[1] // logits.shape[1]
    taps, channels = power_of_two(kernel_size), power_of_two(share)
    together = min(power_of_two(groups), max(TOGETHER // max(channels // 8, 1), 1))
    positions = max(ELEMENTS // (taps * channels * together), 8)
    positions = min(positions, 64)
    down, across = -(-grid.shape[2] // (positions // 8)), -(-grid.shape[3] // 8)
    border_name = cpu.BORDERS[border]
    support.launch(
        getattr(kernels, name),
        lambda _options: (down * across * -(-groups // together) * grid.shape[0],),
        *tensors,
        *[step for one in maps for step in one.stride()],
        *value.shape[2:],
        *logits.shape[3:],
        down,
        across,
        device=value.device,
        choices=CHOICES,
        groups=groups,
        m=share,
        K=kernel_size,
        STRIDE=stride,
        STEP=dilation,
        BEFORE=0 if border_name == "padded" else (kernel_size // 2) * dilation,
        SOFTMAX=softmax,
        **({} if name == "backward_values" else {"EXCLUDE": border_name == "exclude"}),
        P=positions,
        T=taps,
        M=channels,
        N=together,
    )


def empty(logits, value, kernel_size, stride, dilation, softmax, border) -> tuple[Tensor, Tensor]:
    """An answer of the logits' grid, in the value's channels, dtype and memory format, and room for the statistics."""
    batch, groups, _, *grid = logits.shape
    kept = (batch, groups, *grid, 2) if softmax else (0,)
    return cpu.empty(logits, value), logits.new_empty(kept, dtype=torch.float32)


operator.register(
    NAME, cpu.SCHEMA, forward, backward, empty, cpu.flops, cpu.definition, support.DEVICES, statistics=True
)
