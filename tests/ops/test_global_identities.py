"""Relative positions as features of torch's fused attention, against the reference: values, gradients, memory, choice."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from sightline.layers import AttentionAugmentedConv2d
from sightline.ops import global_attention
from sightline.ops.dispatch import choose
from sightline.ops.global_attention import BACKENDS, sdpa
from tests.ops.largest import Largest

GRIDS = ((1, 1), (1, 7), (5, 1), (2, 3), (7, 5), (6, 6))


@pytest.fixture
def no_map_is_too_small(monkeypatch):
    monkeypatch.setattr(sdpa, "FEWEST_RELATIVE_PAIRS", 0)


def operands(grid, depth=3, width=2, heads=2, batch=2, dtype=torch.float64):
    """Random query, key, value, relative rows and columns: leaves that require gradients."""
    torch.manual_seed(0)
    tokens = (batch, heads, grid[0] * grid[1])
    shapes = ((*tokens, depth), (*tokens, depth), (*tokens, width), (2 * grid[0] - 1, depth), (2 * grid[1] - 1, depth))
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def value_and_slopes(x, backend, **options):
    """The answer and the gradients of a fixed random sum of it."""
    y = global_attention(*x, backend=backend, **options)
    torch.manual_seed(1)
    return [y, *torch.autograd.grad((y * torch.randn(y.shape, dtype=y.dtype)).sum(), x)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("widths", [(3, 2), (2, 11), (8, 8)])
def test_equals_the_reference(grid, widths, no_map_is_too_small):
    """Values narrower and wider than the extended queries, any scale."""
    x = operands(grid, *widths)
    for scale in (None, 0.7):
        expected = value_and_slopes(x, "reference", grid=grid, scale=scale)
        got = value_and_slopes(x, "sdpa", grid=grid, scale=scale)
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_equals_the_reference_on_a_large_map():
    """Many blocks of the fused kernel, chosen by "auto"."""
    grid = (29, 23)
    x = operands(grid, 4, 3)
    for one, other in zip(*(value_and_slopes(x, name, grid=grid) for name in ("auto", "reference")), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_gradients(no_map_is_too_small):
    x = operands((2, 3), batch=1)
    torch.autograd.gradcheck(lambda *x: global_attention(*x, grid=(2, 3), backend="sdpa"), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_error_is_at_most_twice_that_of_plain_low_precision(dtype):
    grid = (15, 13)
    x = operands(grid, 8, 8, dtype=dtype)
    exact = global_attention(*[one.double() for one in x], grid=grid, backend="reference")
    got = global_attention(*x, grid=grid, backend="sdpa")
    assert got.dtype == dtype
    assert (got.double() - exact).abs().max() <= 2 * (_plain(*x, grid).double() - exact).abs().max()


def _plain(query, key, value, rows, cols, grid):
    """The formula written down in the operands' own dtype."""
    height, width = grid
    row = torch.arange(height * width) // width
    col = torch.arange(height * width) % width
    by_row = torch.einsum("bnld,lsd->bnls", query, rows[row - row[:, None] + height - 1])
    by_col = torch.einsum("bnld,lsd->bnls", query, cols[col - col[:, None] + width - 1])
    logits = (query @ key.transpose(2, 3) + by_row + by_col) * query.shape[3] ** -0.5
    return logits.softmax(-1) @ value


@pytest.mark.parametrize(("relative", "width"), [(True, 2), (False, 2), (False, 5)])
def test_no_map_of_all_pairs_appears(relative, width):
    """Forward and backward, for operands laid out as split maps are; the reference makes one, and the watch sees it."""
    grid = (31, 29)
    x = operands(grid, 5, width, heads=1, batch=1, dtype=torch.float32)[: 5 if relative else 3]
    seen = {}
    for backend in ("sdpa", "reference"):
        with Largest() as largest:
            split = [one.mT.contiguous().mT if one.ndim == 4 else one for one in x]
            global_attention(*split, grid=grid, backend=backend).square().sum().backward()
        seen[backend] = largest.numbers
    assert seen["reference"] == (31 * 29) ** 2
    assert seen["sdpa"] <= 31 * 29 * (5 + 31 + 29)


@pytest.mark.parametrize(("side", "expected"), [(7, "reference"), (13, "reference"), (14, "sdpa"), (56, "sdpa")])
def test_auto_goes_by_the_size(side, expected):
    tokens = torch.empty(1, 1, side * side, 2)
    table = torch.empty(2 * side - 1, 2)
    x = (tokens, tokens, tokens, table, table)
    run = choose("global_attention", BACKENDS, "auto", *x, grid=(side, side), scale=1.0)
    assert run is BACKENDS[expected].run


def test_layer_passes_through_graphs_and_autocast():
    """torch.compile(fullgraph=True) with gradients, torch.export with a dynamic batch, bfloat16 operands and float32 tables."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer = AttentionAugmentedConv2d(4, 8, 3, 8, 4, heads=2, size=(14, 15))
    x = torch.randn(2, 4, 14, 15)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    slopes = []
    for one in (layer, compiled):
        y = one(x)
        slopes.append([y, *torch.autograd.grad(y.square().sum(), list(layer.parameters()))])
    for got, expected in zip(*slopes, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    program = torch.export.export(layer.eval(), (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(x[:1]), layer(x[:1]))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(x)
    assert (mixed.float() - layer(x)).abs().max() <= 0.05 * layer(x).abs().max()


def test_auto_runs_the_fused_kernel(monkeypatch):
    calls = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *x, **o: calls.append(x) or fused(*x, **o))
    x = operands((14, 14))
    global_attention(*x, grid=(14, 14))
    assert [one.shape[3] for one in calls[0]] == [3 + 14 + 14] * 3


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:FutureWarning")  # torch's own, in its first jvp
def test_forward_mode_derivatives():
    """Torch's fused kernel has none: "auto" takes the reference."""
    x = [torch.randn(1, 2, 5, 4) for _ in range(3)]
    slopes = [
        torch.func.jvp(partial(global_attention, backend=backend), tuple(x), tuple(x))[1]
        for backend in ("auto", "reference")
    ]
    torch.testing.assert_close(*slopes)
