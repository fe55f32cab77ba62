"""Concatenation's Triton kernel against the reference in float64."""

from functools import partial

import pytest
import torch

from sightline.ops import pairwise_attention
from sightline.ops.pairwise_attention import triton
from tests.ops import gpu, kernels

pytestmark = gpu.needs_triton
OPTIONS = {"similarity": "concatenation"}
CASES = [
    ((5, 7), (5, 7), 3, 5),
    ((1, 1), (2, 3), 1, 1),
    ((67,), (35,), 4, 70),
    ((2, 3, 5), (1, 3, 2), 3, 17),
]  # queries, keys; D, E


def operands(queries, keys, depth, width, batch=2, dtype=torch.float32):
    torch.manual_seed(len(queries) + width)
    maps = [torch.randn(batch, *sizes) for sizes in ((depth, *queries), (depth, *keys), (width, *keys))]
    return [one.to(dtype) for one in (*maps, torch.randn(2 * depth))]


@pytest.mark.parametrize("case", [pytest.param(CASES[0], marks=pytest.mark.slow), *CASES[1:]], ids=str)
def test_against_float64(case):
    gpu.check(pairwise_attention, operands(*case), OPTIONS)


@pytest.mark.parametrize("dtype", gpu.HALVES, ids=str)
def test_narrow_floats(dtype):
    gpu.check(pairwise_attention, operands((3, 11), (3, 11), 4, 9, 1, dtype), OPTIONS)


@pytest.mark.slow
def test_repeats_subsets_and_layouts():
    tensors = gpu.here(operands((3, 4), (3, 4), 2, 3))
    call = partial(pairwise_attention, **OPTIONS, backend="triton")
    kernels.check_subsets(call, tensors)
    gpu.check_repeats(pairwise_attention, tensors, OPTIONS)
    *maps, weight = tensors
    kernels.check_layouts(lambda *t: call(*t, weight), maps)


def test_kinks_have_no_slope():
    """Where a_i + b_j is 0 the derivative is 0, as relu's is in torch."""
    one = torch.ones(1, 1, 4, device=gpu.DEVICE)
    tensors = (one, -one, one, torch.ones(2, device=gpu.DEVICE))
    found = kernels.results(partial(pairwise_attention, **OPTIONS, backend="triton"), tensors)
    assert not any(tensor.any() for tensor in found)


@pytest.mark.slow
def test_graphs_and_derivatives_of_gradients():
    tensors = gpu.here(operands((2, 3), (2, 3), 2, 3))
    kernels.check_graphs(pairwise_attention, tensors, OPTIONS, triton.NAME, "triton")
    kernels.check_second_derivative(pairwise_attention, tensors, OPTIONS, "triton")


def test_the_sort_takes_over_where_it_is_faster(monkeypatch):
    monkeypatch.setattr(triton.support, "INTERPRETING", False)
    queries, keys = torch.empty(1, 2, 64, 64), torch.empty(1, 2, 32, 32)
    assert triton.outrun(queries, keys, keys)
    assert not triton.outrun(queries, keys.half(), keys.half())
    assert triton.outrun(queries, queries, queries.half())


def test_an_empty_batch_and_an_objection():
    tensors = gpu.here(operands((2, 3), (2, 3), 2, 3))
    found = kernels.results(
        partial(pairwise_attention, **OPTIONS, backend="triton"), [*(one[:0] for one in tensors[:3]), tensors[3]]
    )
    assert [one.shape[0] for one in found] == [0, 0, 0, 0, 4]
    with pytest.raises(NotImplementedError, match="it is for 'concatenation'; got 'dot_product'"):
        pairwise_attention(*tensors[:3], similarity="dot_product", backend="triton")
