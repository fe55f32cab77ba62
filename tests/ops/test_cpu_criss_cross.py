"""criss_cross_attention's compiled kernels: every instruction set, images and video, odd sizes against the reference in float64."""

from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops import criss_cross_attention, native
from sightline.ops.criss_cross_attention import CRISS_CROSS_ATTENTION, cpu
from tests.ops import kernels
from tests.ops.largest import Largest

pytestmark = kernels.needs_kernels
GRIDS = [(1, 1), (1, 5), (6, 1), (7, 7), (13, 17), (3, 37), (1, 1, 1), (1, 3, 2), (5, 1, 1), (4, 3, 17), (2, 5, 7)]
DEPTHS = [(1, 1), (3, 5), (8, 64), (130, 71)]  # D, E: single, odd, whole vectors, more than one piece of a product
run = partial(criss_cross_attention, backend="cpu")


def operands(grid, depth, batch=2, dtype=torch.float32):
    torch.manual_seed(sum(grid))
    scale = depth[0] ** -0.25
    query, key = (scale * torch.randn(batch, depth[0], *grid) for _ in range(2))
    return [one.to(dtype) for one in (query, key, torch.randn(batch, depth[1], *grid))]


@pytest.mark.parametrize("level", kernels.LEVELS)
def test_against_float64(level):
    with native.use_level(level):
        for grid in GRIDS:
            for index, depth in enumerate(DEPTHS):
                kernels.check_against_float64(criss_cross_attention, operands(grid, depth, 1 + index % 2), {})


@pytest.mark.parametrize("level", kernels.LEVELS)
def test_lines_longer_than_a_piece_of_a_product(level):
    """133 and 128 pixels: two pieces, and rows that would share the sets of a cache."""
    with native.use_level(level):
        kernels.check_against_float64(criss_cross_attention, operands((133, 2), (3, 20), 1), {})
        kernels.check_against_float64(criss_cross_attention, operands((3, 128), (3, 70), 1), {})


@pytest.mark.parametrize("level", kernels.LEVELS)
def test_bfloat16(level):
    with native.use_level(level):
        for grid in ((9, 11), (1, 6), (3, 4, 5)):
            kernels.check_against_float64(criss_cross_attention, operands(grid, (8, 20), dtype=torch.bfloat16), {})


def test_images_are_taken_a_group_at_a_time(monkeypatch):
    """Backward's scratch holds a few images; the last group may be smaller."""
    tensors = operands((5, 6), (3, 4), batch=5)
    expected = kernels.results(run, tensors)
    monkeypatch.setattr(cpu, "GROUP_FLOATS", 2 * sum(30 * cpu._pitch(length) for length in (5, 6)))
    for one, other in zip(kernels.results(run, tensors), expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("grid", [(23, 19), (1, 1), (3, 5, 4)])
def test_any_number_of_threads_gives_the_same_bits(grid):
    kernels.check_threads(run, operands(grid, (8, 20)))


def test_layouts():
    kernels.check_layouts(run, operands((9, 6), (8, 20)))
    video = operands((3, 4, 5), (8, 20))
    last = [one.contiguous(memory_format=torch.channels_last_3d) for one in video]
    for one, other in zip(kernels.results(run, last), kernels.results(run, video), strict=True):
        assert torch.equal(one, other)
    assert run(*last).is_contiguous(memory_format=torch.channels_last_3d)


def test_slices_of_one_projection_are_read_where_they_lie():
    tensors = operands((6, 7), (4, 8))
    expected = kernels.results(run, tensors)
    whole = torch.cat(tensors, dim=1).contiguous(memory_format=torch.channels_last)
    query, key, value = whole.split((4, 4, 8), dim=1)
    assert cpu._readable(value) is value
    assert run(query, key, value).is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(kernels.results(run, (query, key, value)), expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_the_default_dtype_changes_nothing(default):
    """Scratch memory is float32, whatever torch makes of a tensor whose dtype nobody names."""
    tensors = operands((5, 6), (3, 4))
    expected = kernels.results(run, tensors)
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        got = kernels.results(run, tensors)
    finally:
        torch.set_default_dtype(before)
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other)


def test_subsets_of_gradients():
    kernels.check_subsets(run, operands((5, 6), (3, 5)))
    kernels.check_subsets(run, operands((2, 3, 4), (3, 5)))


def test_graphs_and_second_derivative():
    tensors = operands((5, 6), (3, 5), batch=3)
    kernels.check_graphs(criss_cross_attention, tensors, {}, "criss_cross_attention")
    kernels.check_second_derivative(criss_cross_attention, tensors, {})


def test_no_weights_are_kept_for_backward():
    """Saved are the three operands alone, and no tensor of the forward pass holds the weights."""
    leaves = [one.requires_grad_() for one in operands((40, 50), (2, 3), batch=1)]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.numel()) or one, lambda one: one):
        with Largest() as largest:
            y = run(*leaves)
        y.sum().backward()
    assert sorted(kept) == sorted(one.numel() for one in leaves)
    assert largest.numbers <= 4 * 40 * 50


def test_flop_counter_sees_the_closed_form():
    tensors = [one.requires_grad_() for one in operands((5, 6), (3, 5))]
    with FlopCounterMode(display=False) as counter:
        y = run(*tensors)
        forward = counter.get_total_flops()
        y.sum().backward()
    assert forward == 2 * CRISS_CROSS_ATTENTION.cost(*tensors).macs
    assert counter.get_total_flops() == forward + forward * 5 // 2


def test_extreme_logits_and_no_images():
    query, key, value = operands((6, 7), (4, 5))
    loud = (query * 100, key * 100, value)
    expected = criss_cross_attention(*kernels.doubles(loud), backend="reference")
    torch.testing.assert_close(run(*loud).double(), expected, rtol=1e-4, atol=1e-4)
    none = [one[:0].requires_grad_() for one in (query, key, value)]
    y = run(*none)
    assert y.shape == (0, 5, 6, 7)
    y.sum().backward()
    assert none[2].grad.shape == (0, 5, 6, 7)


@pytest.mark.parametrize("grid", [(0, 3), (3, 0), (0, 0), (2, 0, 3)])
def test_maps_without_a_pixel(grid):
    query, key, value = (one.requires_grad_() for one in operands(grid, (4, 8)))
    y = run(query, key, value)
    assert y.shape == value.shape
    y.sum().backward()
    assert [one.grad.shape for one in (query, key, value)] == [query.shape, key.shape, value.shape]


def test_objections():
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    with pytest.raises(NotImplementedError, match=r"takes float32 and bfloat16 tensors on the CPU; got torch.float64"):
        run(x, x, x)
    single = x.float()
    mapped = torch.func.vmap(criss_cross_attention)(*[single.unsqueeze(0)] * 3)
    torch.testing.assert_close(mapped[0], criss_cross_attention(single, single, single))


def test_second_derivatives_where_operands_are_made_of_each_other():
    """Keys that are the queries, values made of the keys: gradients of gradients are still partial ones."""

    def curvature(x):
        y = criss_cross_attention(x, x, 2 * x)
        (slope,) = torch.autograd.grad(y.square().sum(), [x], create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [x])[0]

    x = 0.5 * torch.randn(1, 3, 4, 5)
    exact = curvature(x.double().requires_grad_())
    torch.testing.assert_close(curvature(x.clone().requires_grad_()).double(), exact, rtol=1e-3, atol=1e-4)
