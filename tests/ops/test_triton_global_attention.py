"""global_attention's Triton kernels, with relative rows and columns, against the reference in float64."""

from functools import partial

import pytest
import torch

from sightline.ops import global_attention
from tests.ops import gpu, kernels

pytestmark = gpu.needs_triton
CASES = [
    ((3, 5), 2, 4, 7),
    ((1, 6), 1, 17, 3),
    ((7, 2), 2, 3, 5),
    ((1, 1), 1, 2, 1),
    ((5, 17), 1, 8, 20),
]  # grid, heads, D, E


def operands(grid, heads, depth, width, batch=2, dtype=torch.float32):
    torch.manual_seed(sum(grid))
    length = grid[0] * grid[1]
    tokens = [torch.randn(batch, heads, length, size).to(dtype) for size in (depth, depth, width)]
    tables = [torch.randn(2 * size - 1, depth).to(dtype) for size in grid]
    return (*tokens, *tables), {"grid": grid}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_float64(case):
    gpu.check(global_attention, *operands(*case))


@pytest.mark.parametrize("dtype", gpu.HALVES, ids=str)
def test_narrow_floats(dtype):
    gpu.check(global_attention, *operands((4, 5), 2, 8, 9, 1, dtype))


@pytest.mark.slow
def test_repeats_subsets_and_layouts():
    tensors, options = operands((2, 3), 1, 3, 2, 2)
    call = partial(global_attention, **options, backend="triton")
    kernels.check_subsets(call, gpu.here(tensors))
    gpu.check_repeats(global_attention, tensors, options)
    turned = [
        one.mT.contiguous().mT for one in gpu.here(tensors)
    ]  # tokens side by side, as a channels-first layer hands them over
    for one, other in zip(kernels.results(call, turned), kernels.results(call, gpu.here(tensors)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
def test_graphs():
    tensors, options = operands((2, 3), 1, 3, 2, 2)
    kernels.check_graphs(global_attention, gpu.here(tensors), options, "triton_grid_attention", "triton")


def test_objections():
    tensors, options = operands((2, 3), 1, 3, 2)
    with pytest.raises(NotImplementedError, match="it is for relative rows and columns"):
        global_attention(*gpu.here(tensors[:3]), **options, backend="triton")
    wide, options = operands((1, 200), 1, 2, 2, 1)
    with pytest.raises(NotImplementedError, match="grids of up to 128 columns; got 200"):
        global_attention(*gpu.here(wide), **options, backend="triton")
