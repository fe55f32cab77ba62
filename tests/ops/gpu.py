"""What every Triton kernel is held to, by Triton's interpreter (TRITON_INTERPRET=1) or on a GPU where there is one."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from sightline.ops import triton_support as support
from tests.ops import kernels

DEVICE = "cpu" if support.INTERPRETING else "cuda"
needs_triton = pytest.mark.skipif(
    support.unavailable() is not None, reason=f"{support.unavailable()}; tests/ops/test_triton.py runs them"
)
needs_gpu = pytest.mark.skipif(
    support.INTERPRETING or not torch.cuda.is_available(), reason="there is no GPU that torch can use"
)
HALVES = (torch.bfloat16, torch.float16)


def here(operands: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The operands on the device that is tested."""
    return [None if one is None else one.to(DEVICE) for one in operands]


def check(op: Callable[..., Tensor], operands: Sequence[Tensor | None], options: dict[str, Any]) -> None:
    """At most twice the error of the reference in the same precision, in outputs that held NaN; the interpreter cuts bfloat16
    where a GPU rounds: errors of twice the size that do not cancel."""
    narrow = any(one is not None and one.dtype is torch.bfloat16 for one in operands)
    kernels.check_against_float64(op, here(operands), options, "triton", 6 if narrow and support.INTERPRETING else 2)


def check_repeats(op: Callable[..., Tensor], operands: Sequence[Tensor | None], options: dict[str, Any]) -> None:
    """The same bits every time: a race between programs would show."""
    call = lambda *t: op(*t, **options, backend="triton")  # noqa: E731
    first = kernels.results(call, here(operands))
    for _ in range(1 if support.INTERPRETING else 20):
        for one, other in zip(kernels.results(call, here(operands)), first, strict=True):
            assert torch.equal(one, other)


def check_gradients(op: Callable[..., Tensor], operands: Sequence[Tensor | None], options: dict[str, Any]) -> None:
    """Each gradient alone, the same bits again, and in channels-last."""
    call, tensors = partial(op, **options, backend="triton"), here(operands)
    kernels.check_subsets(call, tensors)
    check_repeats(op, operands, options)
    last = [
        one if one is None or one.ndim != 4 else one.contiguous(memory_format=torch.channels_last) for one in tensors
    ]
    for one, other in zip(kernels.results(call, last), kernels.results(call, tensors), strict=True):
        assert torch.equal(one, other)


def check_forms(
    op: Callable[..., Tensor], operands: Sequence[Tensor | None], options: dict[str, Any], name: str
) -> None:
    """Layouts; compile and export, in which the operator is called `name`."""
    kernels.check_layouts(partial(op, **options, backend="triton"), here(operands))
    kernels.check_graphs(op, here(operands), options, name, "triton")
