"""What every layer promises: any H x W, batch 1, dtypes, memory formats, autocast, compile, export, copies, pickling."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

SIZES = ((1, 1), (1, 7), (5, 1), (2, 3), (7, 5), (11, 13))


def check_sizes(build: Callable[[], nn.Module], channels: int, stride: int = 1, sizes=SIZES) -> None:
    """Every size gives ceil(H / stride) x ceil(W / stride), finite, with a finite gradient for the input and every parameter."""
    for height, width in sizes:
        layer = build().double().eval()
        x = torch.randn(1, channels, height, width, dtype=torch.float64, requires_grad=True)
        y = layer(x)
        assert y.shape[2:] == (-(-height // stride), -(-width // stride)), (height, width, tuple(y.shape))
        y.square().sum().backward()
        for name, tensor in [("input", x), *layer.named_parameters()]:
            assert tensor.grad is not None, f"{name} has no gradient at {height} x {width}"
            assert torch.isfinite(tensor.grad).all(), f"{name} has a non-finite gradient at {height} x {width}"


def check_dtypes(build: Callable[[], nn.Module], channels: int, tolerance: float = 0.05) -> None:
    """float32 and bfloat16 agree with float64; the output has the input's dtype; autocast runs; channels-last agrees."""
    torch.manual_seed(0)
    layer = build().double().eval()
    x = torch.randn(2, channels, 6, 7, dtype=torch.float64)
    expected = layer(x)
    scale = expected.abs().max()
    for dtype, bound in ((torch.float32, 1e-4), (torch.bfloat16, tolerance)):
        got = copy.deepcopy(layer).to(dtype)(x.to(dtype))
        assert got.dtype == dtype
        assert (got.double() - expected).abs().max() <= bound * scale, dtype
    last = layer(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = copy.deepcopy(layer).float()(x.float())
    assert (mixed.double() - expected).abs().max() <= tolerance * scale


def check_copies(build: Callable[[], nn.Module], channels: int) -> None:
    """deepcopy, pickle, torch.save and state_dict give the same output."""
    layer = build().eval()
    x = torch.randn(1, channels, 5, 6)
    expected = layer(x)
    torch.testing.assert_close(copy.deepcopy(layer)(x), expected)
    torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(x), expected)
    fresh = build().eval()
    fresh.load_state_dict(layer.state_dict())
    torch.testing.assert_close(fresh(x), expected)
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))


def check_graphs(build: Callable[[], nn.Module], channels: int) -> None:
    """torch.compile(fullgraph=True) and torch.export for any batch, rows and columns give the eager output; for small layers."""
    layer = build().eval()
    x = torch.randn(2, channels, 5, 6)
    expected = layer(x)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)
    sizes = {0: torch.export.Dim("batch")} | dict.fromkeys((2, 3), torch.export.Dim.AUTO)
    program = torch.export.export(layer, (x,), dynamic_shapes=(sizes,)).module()
    for other in (
        x[:1],
        torch.randn(3, channels, 9, 12),
    ):  # odd and even as before: torch 2.11 pools an exported map so alone
        torch.testing.assert_close(program(other), layer(other))


def check_axes(build: Callable[[], nn.Module], channels: int) -> None:
    """A map without a batch is named."""
    with pytest.raises(ValueError, match=rf"\(B, C, H, W\).* got .*shape \({channels}, 5, 6\)"):
        build()(torch.randn(channels, 5, 6))


def check_functional(build: Callable[[], nn.Module], channels: int) -> None:
    """torch.func.functional_call with tensors for parameters gives the output and the gradients of the parameters."""
    layer, x = build().eval(), torch.randn(2, channels, 5, 6)
    y = layer(x)
    expected = torch.autograd.grad(y.square().sum(), list(layer.parameters()), materialize_grads=True)
    held = {name: one.detach().clone().requires_grad_() for name, one in layer.named_parameters()}
    z = torch.func.functional_call(layer, held, (x,))
    torch.testing.assert_close(z, y)
    found = torch.autograd.grad(z.square().sum(), list(held.values()), materialize_grads=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def check_layer(build: Callable[[], nn.Module], channels: int, stride: int = 1) -> None:
    """All of the above."""
    check_sizes(build, channels, stride)
    check_dtypes(build, channels)
    check_copies(build, channels)
    check_functional(build, channels)
    check_axes(build, channels)
    check_graphs(build, channels)
