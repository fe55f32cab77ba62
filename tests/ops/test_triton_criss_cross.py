"""criss_cross_attention's Triton kernels against the reference in float64."""

import pytest

from sightline.ops import criss_cross_attention
from tests.ops import gpu
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
def test_gradients_and_forms():
    gpu.check_gradients(criss_cross_attention, operands((1, 3), (3, 2), 1), {})
    gpu.check_forms(criss_cross_attention, operands((3, 4), (3, 2)), {}, "triton_criss_cross_attention")
