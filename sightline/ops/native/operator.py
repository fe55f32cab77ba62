"""How a compiled kernel becomes a torch operator: eager, autograd, compile, export, FLOP counter."""

from collections.abc import Callable, Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from sightline.ops import native

DTYPES = (torch.float32, torch.bfloat16)
library = torch.library.Library("sightline", "FRAGMENT")


def objection(*operands: Tensor | None) -> str | None:
    """Why compiled kernels can not run these operands; None when they can."""
    if native.objection is not None:
        return native.objection
    for one in operands:
        if one is not None and (one.device.type != "cpu" or one.dtype not in DTYPES):
            return f"it takes float32 and bfloat16 tensors on the CPU; got {one.dtype} on {one.device}"
    if transformed():
        return "function transforms and forward-mode derivatives need the reference"
    return None


def forward_mode() -> bool:
    """Whether a forward-mode derivative is under way."""
    return forward_ad._current_level >= 0


def transformed() -> bool:
    """Whether a function transform or a forward-mode derivative is under way, which operators of ours do not know."""
    return forward_mode() or torch._C._functorch.peek_interpreter_stack() is not None


# asked while a compiler traces: torch.compiler.assume_constant_result, which would import the compiler
forward_mode._dynamo_marked_constant = transformed._dynamo_marked_constant = True  # type: ignore[attr-defined]


def mapped(grad: Tensor) -> bool:
    """Whether a gradient stands for many: within `torch.func.vmap`, or the one of `torch.autograd.grad(is_grads_batched=True)`."""
    return transformed() or torch._C._functorch.is_legacy_batchedtensor(grad)


@overload
def table(tensor: Tensor) -> Tensor: ...
@overload
def table(tensor: None) -> None: ...
def table(tensor: Tensor | None) -> Tensor | None:
    """A small tensor as kernels read it by address: contiguous float32."""
    return None if tensor is None else tensor.detach().to(torch.float32).contiguous()


def empty_map(like: Tensor, channels: int, layout: Tensor | None = None) -> Tensor:
    """An uninitialised map (B, channels, H, W): dtype and size of `like`, memory format of `layout`, by default its own."""
    layout = like if layout is None else layout
    memory_format = torch.channels_last if channels_last(layout) else torch.contiguous_format
    size = (like.shape[0], channels, *like.shape[2:])
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=memory_format)


def channels_last(x: Tensor) -> bool:
    """Whether a pixel's channels are neighbours in memory; also where x is some of the channels of a larger map."""
    return x.stride(1) == 1 and not x.is_contiguous() and x.stride(3) >= x.shape[1] and x.shape[1] > 1


def register(
    name: str,
    schema: str,
    forward: Callable[..., Any],
    backward: Callable[..., Sequence[Tensor | None]],
    empty: Callable[..., Any],
    flops: Callable[..., int],
    definition: Callable[..., Tensor],
    devices: Sequence[str] = ("CPU",),
    statistics: bool = False,
) -> None:
    """Define `torch.ops.sightline.<name>` and the operator of its gradient, `<name>_backward`.

    Args:
        name: the operator's name.
        schema: its operands, tensors (optional ones too) before all options: "(Tensor query, ..., int kernel_size)".
        forward: runs the kernel on the operands: the answer, or answer and statistics.
        backward: (needed, gradient, *operands), or (needed, gradient, answer, statistics, *operands), to one gradient a tensor,
            None where `needed` is False.
        empty: what forward returns, uninitialised; also what a compiler takes it to look like.
        flops: floating-point operations of the forward kernel from the operands' shapes; backward counts two and a half times that.
        definition: the reference on the operands: it gives derivatives of the gradient.
        devices: where the kernel runs.
        statistics: the operator also returns what backward needs beside the operands, the softmax's statistics.
    """
    tensors, kept = schema.count("Tensor"), 2 if statistics else 0
    returned, extra = ("(Tensor, Tensor)", "Tensor answer, Tensor statistics, ") if statistics else ("Tensor", "")
    define(name, f"{schema} -> {returned}", forward, empty, devices, flops)
    gradient = define(
        name + "_backward",
        f"(bool[] needed, Tensor grad, {extra}{schema.removeprefix('(')} -> Tensor[]",
        lambda needed, grad, *rest: given(as_told(backward(needed, grad, *rest), rest[kept:])),
        lambda needed, _grad, *rest: given(
            [torch.empty_like(one) if want else None for want, one in zip(needed, rest[kept:], strict=False)]
        ),
        devices,
        lambda _needed, _grad, *shapes: flops(*shapes[kept:]) * 5 // 2,
    )

    def remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:tensors], *(output if statistics else ()))
        ctx.options = inputs[tensors:]

    def differentiate(ctx: Any, grad: Tensor, *_of_statistics: Tensor) -> tuple[Tensor | None, ...]:
        needed, nothing = list(ctx.needs_input_grad[:tensors]), [None] * len(ctx.options)
        saved = ctx.saved_tensors  # once: gradient checkpointing hands them out no second time
        operands, kept = saved[:tensors], saved[tensors:]
        if torch.is_grad_enabled() or mapped(grad):  # create_graph=True; many gradients at once
            return *differentiable(definition, needed, grad, operands, ctx.options), *nothing
        found = iter(gradient(needed, grad, *kept, *operands, *ctx.options))
        return *[next(found) if want else None for want in needed], *nothing

    torch.library.register_autograd(f"sightline::{name}", differentiate, setup_context=remember, lib=library)


def define(
    name: str,
    schema: str,
    run: Callable[..., Any],
    fake: Callable[..., Any],
    devices: Sequence[str] = ("CPU",),
    flops: Callable[..., int] | None = None,
) -> Any:
    """Define `torch.ops.sightline.<name>` on these devices, without a derivative: what a compiler takes it to return, and, where it
    is to be counted, its floating-point operations from the operands' shapes."""
    library.define(name + schema)
    for device in devices:
        library.impl(name, run, device)
    torch.library.register_fake(f"sightline::{name}", fake, lib=library)
    if flops is not None:
        register_flop_formula(getattr(torch.ops.sightline, name))(lambda *shapes, out_shape=None: flops(*shapes))
    return getattr(torch.ops.sightline, name).default


def as_told(gradients: Sequence[Tensor | None], operands: Sequence[Any]) -> list[Tensor | None]:
    """Gradients in the memory layout that a compiler was told, that of `empty_like` the operand; inductor refuses any other."""
    found = []
    for gradient, operand in zip(gradients, operands, strict=False):
        told = None if gradient is None else torch.empty_like(operand, device="meta").stride()
        same = gradient is None or gradient.stride() == told
        found.append(gradient if same else torch.empty_like(operand).copy_(gradient))
    return found


def given(gradients: Sequence[Tensor | None]) -> list[Tensor]:
    """Those that there are: an operator can not return None in a list."""
    return [one for one in gradients if one is not None]


def differentiable(
    definition: Callable[..., Tensor],
    needed: list[bool],
    grad: Tensor,
    tensors: Sequence[Tensor | None],
    options: Sequence[Any],
) -> list[Tensor | None]:
    """Gradients by the reference, which can be differentiated again and mapped over.

    They are partial ones: of operands of their own, since one operand may be another or be made of it.
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        tensors = [None if one is None else one.view_as(one) for one in tensors]
        wanted = [one for one, want in zip(tensors, needed, strict=True) if want and one is not None]
        found = iter(torch.autograd.grad(definition(*tensors, *options), wanted, grad, create_graph=again))
    return [next(found) if want else None for want in needed]
