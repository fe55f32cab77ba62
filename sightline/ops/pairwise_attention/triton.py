"""Concatenation's Triton kernel as a torch operator, `torch.ops.sightline.triton_concatenation`, on a GPU.

All pairs, in tiles: N times the multiply-adds of the sort (`sorting`), but one launch, on tensor cores, and no map of values in
float32. docs/kernels.md reckons where the sort overtakes it.
Legend: B batch, D E key and value channels, M queries, N keys (both flat, row-major).
"""

from typing import Any

import torch
from torch import Tensor

from sightline.ops import triton_support as support
from sightline.ops.native import operator
from sightline.ops.pairwise_attention.reference import concatenated
from sightline.ops.precision import widen, without_autocast
from sightline.ops.triton_support import power_of_two

OPERATOR = True
LONGEST = {2: 2048, 4: 512}  # of queries or keys, whichever are fewer, by the bytes of a value; reckoned, not measured
CHOICES = ({"num_warps": 8, "num_stages": 2}, {"num_warps": 4, "num_stages": 1})
NAME = "triton_concatenation"


def objection(query, key, value, concat_weight, *, similarity, **options: Any) -> str | None:
    """Why the kernel can not run these operands; None when it can."""
    if similarity != "concatenation":
        return f"it is for 'concatenation'; got {similarity!r}"
    return support.objection(query, key, value, concat_weight) or support.too_far(value)


def outrun(query, key, value, *operands: Any, **options: Any) -> bool:
    """Whether the sort is faster; and the interpreter is slower than anything."""
    fewer = min(query.shape[2:].numel(), key.shape[2:].numel())
    return support.INTERPRETING or fewer > LONGEST[value.element_size()]


def run(query, key, value, concat_weight, *, similarity, scale) -> Tensor:
    """See `sightline.ops.pairwise_attention`."""
    with without_autocast(query.device):
        q, k, weight = widen(query, key, concat_weight)
        a, b = concatenated(q.flatten(2), k.flatten(2), weight)
        y = torch.ops.sightline.triton_concatenation(a, b, value.flatten(2))
        return y.unflatten(2, query.shape[2:]).to(query.dtype)


def forward(a: Tensor, b: Tensor, value: Tensor) -> Tensor:
    """y (B, E, M), in the value's dtype, of a (B, M) and b (B, N) in float32 and value (B, E, N)."""
    y = empty(a, b, value)
    if y.numel():
        _launch(a, b, value, b.shape[1], ramps=y)
    return y


def backward(needed, grad, a, b, value) -> list[Tensor | None]:
    """Gradients of a, b and value, None where they are not needed."""
    if not grad.numel():
        return [torch.zeros_like(one) if want else None for one, want in zip((a, b, value), needed, strict=True)]
    d_a, d_b, d_value = (
        torch.empty_like(one) if want else None for one, want in zip((a, b, value), needed, strict=True)
    )
    grad = grad.to(value.dtype)
    if d_a is not None:
        _launch(a, b, value, b.shape[1], dots=d_a, others=grad)
    if d_b is not None or d_value is not None:
        _launch(b, a, grad, b.shape[1], ramps=d_value, dots=d_b, others=value)
    return [d_a, d_b, d_value]


def _launch(a, b, value, count, ramps: Tensor | None = None, dots: Tensor | None = None, others=None) -> None:
    """Start the kernel on rows a and columns b with value, for means over `count` keys; dots are those with `others`."""
    from sightline.ops.pairwise_attention import kernels

    channels, many = value.shape[1], 32 if value.element_size() == 4 else 64
    wide = min(power_of_two(channels, 16), many)
    others, out = value if others is None else others, value if ramps is None else ramps
    parts = 1 if dots is not None else -(-channels // wide)
    support.launch(
        kernels.sums,
        lambda _options: (value.shape[0] * -(-a.shape[1] // many), parts),
        a.contiguous(),
        b.contiguous(),
        value,
        others,
        out,
        a if dots is None else dots,
        1.0 / count,
        *[step for one in (value, others, out) for step in one.stride()],
        a.shape[1],
        b.shape[1],
        device=value.device,
        choices=CHOICES,
        E=channels,
        RAMPS=ramps is not None,
        DOTS=dots is not None,
        PRECISION=support.precision(value.dtype),
        M=many,
        N=many,
        BE=wide,
    )


def empty(a: Tensor, b: Tensor, value: Tensor) -> Tensor:
    """An answer of the right shape, the channels of a query side by side."""
    return value.new_empty(value.shape[0], a.shape[1], value.shape[1]).mT


def flops(a, b, value, **_named) -> int:
    """Two a multiply-add of the values' sums."""
    return 2 * a[0] * a[1] * b[1] * value[1]


def definition(a: Tensor, b: Tensor, value: Tensor) -> Tensor:
    """The same in plain PyTorch: what a derivative of the gradient is taken of."""
    weights = (a.unsqueeze(2) + b.unsqueeze(1)).relu() / b.shape[1]  # B, M, N
    return (value.float() @ weights.mT).to(value.dtype)


operator.register(
    NAME, "(Tensor a, Tensor b, Tensor value)", forward, backward, empty, flops, definition, support.DEVICES
)
