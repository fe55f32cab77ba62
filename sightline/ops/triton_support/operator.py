"""How a Triton kernel becomes a torch operator, `torch.ops.sightline.triton_<op>`: eager, autograd, compile, export, FLOP counter.

Unlike the CPU's, the operator also returns what backward needs beside the operands, the softmax's statistics: (answer, statistics).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sightline.ops.native import operator

DEVICES = ("CUDA", "CPU")  # the CPU for Triton's interpreter


def register(
    name: str,
    schema: str,
    forward: Callable[..., tuple[Tensor, Tensor]],
    backward: Callable[..., Sequence[Tensor | None]],
    empty: Callable[..., tuple[Tensor, Tensor]],
    flops: Callable[..., int],
    definition: Callable[..., Tensor],
) -> None:
    """Define `torch.ops.sightline.<name>` and the operator of its gradient, `<name>_backward`.

    Args:
        name: the operator's name.
        schema: its operands, tensors (optional ones too) before all options: "(Tensor query, ..., int kernel_size)".
        forward: runs the kernel on the operands: answer and statistics.
        backward: (needed, gradient, answer, statistics, *operands) to one gradient a tensor, None where `needed` is False.
        empty: uninitialised answer and statistics; also what a compiler takes the output to look like.
        flops: floating-point operations of the forward kernel from the operands' shapes; backward counts two and a half times that.
        definition: the reference on the operands: it gives derivatives of the gradient.
    """
    tensors = schema.count("Tensor")
    operator.define(name, schema + " -> (Tensor, Tensor)", forward, empty, DEVICES)
    inner = schema.removeprefix("(")
    gradient = operator.define(
        name + "_backward",
        f"(bool[] needed, Tensor grad, Tensor answer, Tensor statistics, {inner} -> Tensor[]",
        lambda needed, *rest: operator.given(backward(needed, *rest)),
        lambda needed, _grad, _answer, _statistics, *operands: operator.given(
            [torch.empty_like(one) if want else None for want, one in zip(needed, operands, strict=False)]
        ),
        DEVICES,
    )
    register_flop_formula(getattr(torch.ops.sightline, name))(lambda *shapes, out_shape=None: flops(*shapes))
    register_flop_formula(getattr(torch.ops.sightline, name + "_backward"))(
        lambda _needed, _grad, _answer, _statistics, *shapes, out_shape=None: flops(*shapes) * 5 // 2
    )

    def remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[:tensors], *output)
        ctx.options = inputs[tensors:]

    def differentiate(ctx: Any, grad: Tensor, _of_statistics: Tensor) -> tuple[Tensor | None, ...]:
        needed, nothing = list(ctx.needs_input_grad[:tensors]), [None] * len(ctx.options)
        *operands, answer, statistics = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True
            return *operator.differentiable(definition, needed, grad, operands, ctx.options), *nothing
        found = iter(gradient(needed, grad, answer, statistics, *operands, *ctx.options))
        return *[next(found) if want else None for want in needed], *nothing

    torch.library.register_autograd(f"sightline::{name}", differentiate, setup_context=remember, lib=operator.library)
