"""What every compiled kernel is held to: shared by the tests of the ops' `cpu` backends."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from sightline.ops import native

LEVELS = native.levels() or ("none",)
SIZES = [(1, 1), (1, 5), (6, 1), (7, 7), (13, 17), (3, 37)]  # of maps
WINDOWS = [
    (1, 1, 1),
    (3, 1, 1),
    (7, 1, 1),
    (5, 2, 1),
    (3, 2, 2),
    (7, 3, 1),
    (3, 1, 3),
    (3, 5, 2),
]  # K, stride, dilation
needs_kernels = pytest.mark.skipif(native.objection is not None, reason=str(native.objection))


def results(call: Callable[..., Tensor], operands: Sequence[Tensor | None]) -> list[Tensor]:
    """The output and the gradients of all operands, for a fixed cotangent of the output's size."""
    leaves = [None if one is None else one.detach().requires_grad_() for one in operands]
    y = call(*leaves)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    given = [one for one in leaves if one is not None]
    return [y.detach(), *torch.autograd.grad(y, given, cotangent)]


def doubles(operands: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The operands in float64."""
    return [None if one is None else one.double() for one in operands]


def check_against_float64(
    op: Callable[..., Tensor],
    operands: Sequence[Tensor | None],
    options: dict[str, Any],
    backend: str = "cpu",
    times: float = 2,
) -> None:
    """Output and gradients of the kernel err at most twice as much as the reference in the operands' own precision."""
    exact = results(lambda *t: op(*t, **options, backend="reference"), doubles(operands))
    plain = results(lambda *t: op(*t, **options, backend="reference"), operands)
    with poisoned():
        got = results(lambda *t: op(*t, **options, backend=backend), operands)
    scale = max(float(one.abs().max()) for one in exact if one.numel())  # a sum may cancel to nothing; its terms do not
    floor = 16 * torch.finfo(torch.float32).eps * scale  # both may be luckily near
    for mine, theirs, true in zip(got, plain, exact, strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        if not true.numel():
            continue
        error, allowed = ((one.double() - true).abs() for one in (mine, theirs))
        assert error.max() <= times * allowed.max() + floor
        assert error.mean() <= times * allowed.mean() + floor / 4


@contextmanager
def poisoned():
    """Memory that torch hands out uninitialised holds NaN: whatever a kernel leaves unwritten shows."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")  # by default it fills uninitialised memory
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def check_threads(call: Callable[..., Tensor], operands: Sequence[Tensor | None]) -> None:
    """Output and gradients are bitwise the same on 1, 2, 3 and 4 threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = results(call, operands)
        for threads in (2, 3, 4):
            torch.set_num_threads(threads)
            for one, other in zip(results(call, operands), expected, strict=True):
                assert torch.equal(one, other), threads
    finally:
        torch.set_num_threads(before)


def check_layouts(call: Callable[..., Tensor], operands: Sequence[Tensor | None]) -> None:
    """Channels-last maps, transposed and sliced ones give the same numbers; channels-last in, channels-last out."""
    expected = results(call, operands)
    forms = {
        "channels last": lambda t: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t,
        "transposed": lambda t: t.mT.contiguous().mT,
        "sliced": lambda t: torch.cat([t, t], dim=-1)[..., : t.shape[-1]],
        "every other": lambda t: t.repeat_interleave(2, dim=-1)[..., ::2],
    }
    for name, form in forms.items():
        got = results(call, [None if one is None else form(one) for one in operands])
        for one, other in zip(got, expected, strict=True):
            assert torch.equal(one, other), name
    last = [one if one is None else forms["channels last"](one) for one in operands]
    assert call(*last).is_contiguous(memory_format=torch.channels_last)


def check_subsets(call: Callable[..., Tensor], operands: Sequence[Tensor | None]) -> None:
    """Each gradient asked for alone is the one that all together give."""
    together = iter(results(call, operands)[1:])
    for index, operand in enumerate(operands):
        if operand is None:
            continue
        leaves = [None if one is None else one.detach().requires_grad_(i == index) for i, one in enumerate(operands)]
        y = call(*leaves)
        cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
        (alone,) = torch.autograd.grad(y, leaves[index], cotangent)
        torch.testing.assert_close(alone, next(together))


def check_graphs(
    op: Callable[..., Tensor],
    operands: Sequence[Tensor | None],
    options: dict[str, Any],
    name: str,
    named: str = "cpu",
) -> None:
    """Compiles as one graph, forward and backward; exported by name as the operator, by "auto" without it."""
    call = lambda *t: op(*t, **options, backend=named)  # noqa: E731
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for one, other in zip(results(compiled, operands), results(call, operands), strict=True):
        torch.testing.assert_close(one, other)
    for backend, inside in ((named, True), ("auto", False)):

        class Module(torch.nn.Module):
            def forward(self, *operands: Tensor | None) -> Tensor:
                return op(*operands, **options, backend=backend)  # noqa: B023

        program = torch.export.export(Module(), tuple(operands))
        assert (f"sightline.{name}.default" in program.graph_module.code) == inside
        torch.testing.assert_close(program.module()(*operands), call(*operands))


def check_second_derivative(
    op: Callable[..., Tensor], operands: Sequence[Tensor | None], options: dict[str, Any], named: str = "cpu"
) -> None:
    """The gradient of a squared gradient is the reference's."""
    found = []
    for backend in (named, "reference"):
        leaves = [None if one is None else one.detach().requires_grad_() for one in operands]
        given = [one for one in leaves if one is not None]
        y = op(*leaves, **options, backend=backend)
        first = torch.autograd.grad(y.square().sum(), given, create_graph=True)
        found.append(torch.autograd.grad(sum(one.square().sum() for one in first), given))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def check_many_gradients(call: Callable[..., Tensor], operands: Sequence[Tensor | None]) -> None:
    """Gradients for several cotangents at once, as rows of a Jacobian, are those for each alone."""
    leaves = [None if one is None else one.detach().requires_grad_() for one in operands]
    given, y = [one for one in leaves if one is not None], call(*leaves)
    cotangents = torch.randn(3, *y.shape)
    together = torch.autograd.grad(y, given, cotangents, is_grads_batched=True, retain_graph=True)
    for index, cotangent in enumerate(cotangents):
        for many, alone in zip(together, torch.autograd.grad(y, given, cotangent, retain_graph=True), strict=True):
            torch.testing.assert_close(many[index], alone, rtol=1e-4, atol=1e-5)
