"""vector_attention's Triton kernels against the reference in float64."""

import pytest

from sightline.ops import vector_attention
from tests.ops import gpu
from tests.ops.test_cpu_vector_attention import operands

pytestmark = gpu.needs_triton
CASES = [  # map; window, stride, dilation; groups, channels a group; softmax or not, border
    ((2, 9), (7, 1, 1), (2, 8), "softmax", "reflect"),
    ((1, 5), (3, 1, 1), (1, 9), "none", "reflect"),
    ((6, 7), (3, 2, 1), (3, 5), "softmax", "exclude"),
    ((7, 4), (5, 3, 2), (2, 3), "softmax", "zero"),
    ((4, 9), (3, 1, 2), (9, 1), "none", "zero"),
]


@pytest.mark.parametrize(
    "case", [*CASES[:3], *(pytest.param(one, marks=pytest.mark.slow) for one in CASES[3:])], ids=str
)
def test_against_float64(case):
    size, window, groups, normalise, border = case
    tensors, options = operands(size, window, groups, batch=2)
    gpu.check(vector_attention, tensors, options | {"normalise": normalise, "border": border})


@pytest.mark.parametrize("dtype", [gpu.HALVES[0], pytest.param(gpu.HALVES[1], marks=pytest.mark.slow)], ids=str)
def test_narrow_floats(dtype):
    gpu.check(vector_attention, *operands((3, 9), (5, 1, 1), dtype=dtype, batch=1))


@pytest.mark.slow
def test_gradients_and_forms():
    gpu.check_gradients(vector_attention, *operands((2, 3), (3, 1, 1), (2, 2), batch=1))
    gpu.check_forms(vector_attention, *operands((3, 4), (3, 1, 1), (2, 2), batch=2), "triton_vector_attention")
