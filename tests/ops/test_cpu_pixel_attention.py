"""pixel_attention's compiled kernels: every instruction set, border and odd size against the reference in float64."""

import itertools
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops import native, pixel_attention
from tests.ops import kernels

SIZES = [(1, 1), (1, 5), (6, 1), (8, 8), (13, 17), (3, 37)]
SHAPES = [(4, 3, 4, 16), (3, 1, 6, 5), (2, 4, 2, 3), (1, 3, 3, 8)]  # K, C, heads, E


def operands(size, shape, batch=2, dtype=torch.float32):
    (side, channels, heads, depth), offsets = shape, 2 * shape[0] - 1
    torch.manual_seed(size[0] * 100 + size[1])
    sizes = [(heads, channels, channels), *[(heads, offsets, channels)] * 2, (side * side, heads, depth, channels)]
    return [torch.randn(batch, channels, *size).to(dtype), *(torch.randn(one).to(dtype) for one in sizes)], {
        "kernel_size": side
    }


def cpu(**options):
    return partial(pixel_attention, **options, backend="cpu")


@kernels.needs_kernels
@pytest.mark.parametrize("level", kernels.LEVELS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_float64(shape, level):
    with native.use_level(level):
        for index, (size, border) in enumerate(itertools.product(SIZES, ("exclude", "zero"))):
            tensors, options = operands(size, shape, batch=1 + index % 3)
            kernels.check_against_float64(pixel_attention, tensors, options | {"border": border})


@kernels.needs_kernels
@pytest.mark.parametrize("level", kernels.LEVELS)
def test_bfloat16(level):
    with native.use_level(level):
        kernels.check_against_float64(pixel_attention, *operands((9, 11), SHAPES[0], dtype=torch.bfloat16))


@kernels.needs_kernels
def test_any_number_of_threads_gives_the_same_bits():
    tensors, options = operands((67, 83), SHAPES[0])
    kernels.check_threads(cpu(**options), tensors)


@kernels.needs_kernels
def test_layouts():
    """Any layout of the pixels and of the cotangent; the answer lies channels last."""
    tensors, options = operands((9, 6), SHAPES[0])
    kernels.check_layouts(cpu(**options), tensors)
    leaf, cotangent = tensors[0].requires_grad_(), torch.randn(2, 64, 9, 6)
    found = []
    for form in (torch.contiguous_format, torch.channels_last):
        y = cpu(**options)(leaf, *tensors[1:])
        found.append(torch.autograd.grad(y, leaf, cotangent.contiguous(memory_format=form))[0])
    assert torch.equal(*found)


@kernels.needs_kernels
def test_subsets_of_gradients():
    tensors, options = operands((5, 6), SHAPES[3])
    kernels.check_subsets(cpu(**options), tensors)


@kernels.needs_kernels
def test_graphs_and_second_derivative():
    tensors, options = operands((5, 6), SHAPES[1], batch=3)
    kernels.check_graphs(pixel_attention, tensors, options, "pixel_attention")
    kernels.check_second_derivative(pixel_attention, tensors, options)


@kernels.needs_kernels
def test_extreme_logits_and_an_empty_batch():
    tensors, options = operands((6, 7), SHAPES[0])
    loud = [tensors[0] * 100, *tensors[1:]]
    expected = pixel_attention(*kernels.doubles(loud), **options, backend="reference")
    torch.testing.assert_close(cpu(**options)(*loud).double(), expected, rtol=1e-4, atol=1e-2)
    assert cpu(**options)(tensors[0][:0], *tensors[1:]).shape == (0, 64, 6, 7)


@kernels.needs_kernels
def test_flop_counter():
    tensors, options = operands((8, 4), SHAPES[0])
    with FlopCounterMode(display=False) as counter:
        cpu(**options)(*tensors)
    logits = 4 * (3 * 3 + 16 * 3 + 2 * 4 * 3)  # a head: A x, x . x, rows and cols
    assert counter.get_total_flops() == 2 * 2 * 32 * (logits + 64 * 3 + 64 * 16)


def test_errors_quote_value_and_rule():
    tensors, _ = operands((8, 8), SHAPES[0])
    with pytest.raises(
        ValueError, match=r"4 heads and kernel_size 3 need bilinear, rows and cols of .*5, 3.*got .*7, 3"
    ):
        pixel_attention(*tensors, kernel_size=3)
    with pytest.raises(ValueError, match="border must be 'exclude' or 'zero'; got 'reflect'"):
        pixel_attention(*tensors, kernel_size=4, border="reflect")
