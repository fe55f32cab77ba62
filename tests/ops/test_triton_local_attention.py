"""local_attention's Triton kernels against the reference in float64."""

from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops import local_attention
from sightline.ops.local_attention import LOCAL_ATTENTION
from tests.ops import gpu, kernels
from tests.ops.test_cpu_local_attention import operands

pytestmark = gpu.needs_triton
CASES = [  # map; window, stride, dilation; heads, D, E, channels of the row table; border; one table for all heads?
    ((3, 9), (3, 1, 1), (2, 8, 8, 3), "exclude", False),
    ((1, 5), (7, 1, 1), (1, 3, 5, 1), "zero", True),
    ((6, 4), (9, 1, 1), (1, 2, 1, 0), "exclude", True),
    ((9, 10), (7, 2, 1), (1, 17, 9, None), "exclude", False),
    ((3, 7), (3, 1, 2), (1, 4, 4, 2), "zero", False),
    ((4, 5), (3, 2, 3), (1, 2, 3, 1), "exclude", False),
    ((5, 3), (3, 4, 2), (1, 2, 3, 1), "zero", False),
]


SLOW = {(3, 2, 3), (3, 1, 2)}  # many phases, many programs


@pytest.mark.parametrize(
    "case", [pytest.param(one, marks=[pytest.mark.slow] * (one[1] in SLOW)) for one in CASES], ids=str
)
def test_against_float64(case):
    size, window, depth, border, shared = case
    tensors, options = operands(size, window, depth, shared=shared, batch=1)
    gpu.check(local_attention, tensors, options | {"border": border})


@pytest.mark.parametrize("dtype", gpu.HALVES, ids=str)
def test_narrow_floats(dtype):
    tensors, options = operands((5, 9), (5, 1, 1), (1, 8, 8, 4), batch=1, dtype=dtype)
    gpu.check(local_attention, tensors, options)


def test_wide_tables_lose_nothing():
    """Float32 tables beside narrow maps, as under autocast."""
    tensors, options = operands((3, 5), (3, 1, 1), (1, 8, 8, 4), batch=1, dtype=torch.float16)
    gpu.check(local_attention, (*tensors[:3], *(one.float() / 3 for one in tensors[3:])), options)


@pytest.mark.slow
def test_layouts_and_subsets():
    tensors, options = operands((2, 3), (3, 1, 1), (1, 2, 3, 1), batch=2)
    call = partial(local_attention, **options, backend="triton")
    kernels.check_layouts(call, gpu.here(tensors))
    kernels.check_subsets(call, gpu.here(tensors))


def test_repeats():
    tensors, options = operands((3, 9), (3, 1, 1), (2, 8, 8, 4), batch=2)
    gpu.check_repeats(local_attention, tensors, options)


@pytest.mark.slow
def test_graphs():
    tensors, options = operands((2, 3), (3, 1, 1), (1, 2, 2, None), batch=2)
    kernels.check_graphs(local_attention, gpu.here(tensors), options, "triton_local_attention", "triton")


def test_flop_counter_and_autocast():
    tensors, options = operands((2, 3), (3, 1, 1), (1, 8, 8, 4), batch=1)
    leaves = [one.requires_grad_() for one in gpu.here(tensors)]
    with FlopCounterMode(display=False) as counter, torch.autocast(gpu.DEVICE, torch.bfloat16):
        y = local_attention(*leaves, **options, backend="triton")
        forward = counter.get_total_flops()
        y.sum().backward()
    assert forward == 2 * LOCAL_ATTENTION.cost(*tensors, **options).macs
    assert counter.get_total_flops() == forward + forward * 5 // 2
    assert y.dtype is torch.float32


def test_empty_batch_and_objections():
    tensors, options = operands((2, 3), (3, 1, 1), (1, 2, 2, 1), batch=1)
    empty = [*(one[:0] for one in tensors[:3]), *tensors[3:]]
    assert all(
        one.shape[0] == 0
        for one in kernels.results(partial(local_attention, **options, backend="triton"), gpu.here(empty))[:4]
    )
    with pytest.raises(
        NotImplementedError, match=r"it takes float32, bfloat16 and float16 tensors .*; got torch.float64"
    ):
        local_attention(*gpu.here([one.double() for one in tensors]), **options, backend="triton")
