"""criss_cross_attention's Triton kernels against the reference in float64."""

from functools import partial

import pytest
import torch

from sightline.ops import criss_cross_attention
from tests.ops import gpu, kernels
from tests.ops.test_cpu_criss_cross import operands

pytestmark = gpu.needs_triton
CASES = [((3, 5), (4, 7)), ((1, 6), (17, 3)), ((1, 1), (2, 1)), ((2, 1, 3), (3, 5))]  # grid; D, E
SLOW = [((34, 2), (8, 40)), ((2, 3, 4), (3, 5)), ((3, 1, 2), (2, 2))]


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(one, marks=pytest.mark.slow) for one in SLOW)], ids=str)
def test_against_float64(case):
    gpu.check(criss_cross_attention, operands(*case), {})


@pytest.mark.parametrize("dtype", gpu.HALVES, ids=str)
def test_narrow_floats(dtype):
    gpu.check(criss_cross_attention, operands((2, 5), (8, 9), 1, dtype), {})


@pytest.mark.slow
def test_repeats_subsets_and_channels_last():
    tensors = operands((1, 3), (3, 2), 1)
    call = partial(criss_cross_attention, backend="triton")
    kernels.check_subsets(call, gpu.here(tensors))
    gpu.check_repeats(criss_cross_attention, tensors, {})
    last = [one.contiguous(memory_format=torch.channels_last) for one in gpu.here(tensors)]
    for one, other in zip(kernels.results(call, last), kernels.results(call, gpu.here(tensors)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_layouts_and_graphs():
    tensors = operands((3, 4), (3, 2))
    kernels.check_layouts(partial(criss_cross_attention, backend="triton"), gpu.here(tensors))
    kernels.check_graphs(criss_cross_attention, gpu.here(tensors), {}, "triton_criss_cross_attention", "triton")
