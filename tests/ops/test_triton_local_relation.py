"""local_relation's Triton kernels against the reference in float64."""

import pytest

from sightline.ops import local_relation
from tests.ops import gpu
from tests.ops.test_cpu_local_relation import operands

pytestmark = gpu.needs_triton
CASES = [  # map; window, stride, dilation; groups, channels a group; similarity, border, order; with a prior?
    ((2, 9), (7, 1, 1), (2, 8), "multiply", "exclude", "contiguous", True),
    ((1, 5), (3, 1, 1), (1, 9), "squared_difference", "zero", "interleaved", True),
    ((6, 7), (3, 2, 1), (3, 5), "absolute_difference", "exclude", "interleaved", True),
    ((7, 4), (5, 3, 2), (2, 3), "multiply", "zero", "contiguous", False),
    ((4, 5), (9, 1, 1), (1, 1), "squared_difference", "exclude", "contiguous", True),
]


@pytest.mark.parametrize(
    "case", [*CASES[:3], *(pytest.param(one, marks=pytest.mark.slow) for one in CASES[3:])], ids=str
)
def test_against_float64(case):
    size, window, groups, similarity, border, order, geometry = case
    tensors, options = operands(size, window, groups, batch=2, geometry=geometry)
    gpu.check(local_relation, tensors, options | {"similarity": similarity, "border": border, "order": order})


@pytest.mark.parametrize("dtype", [gpu.HALVES[0], pytest.param(gpu.HALVES[1], marks=pytest.mark.slow)], ids=str)
def test_narrow_floats(dtype):
    gpu.check(local_relation, *operands((3, 9), (5, 1, 1), dtype=dtype, batch=1))


@pytest.mark.slow
def test_gradients_and_forms():
    gpu.check_gradients(local_relation, *operands((2, 3), (3, 1, 1), (2, 2), batch=1))
    gpu.check_forms(local_relation, *operands((3, 4), (3, 1, 1), (2, 2), batch=2), "triton_local_relation")
