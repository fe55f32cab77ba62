"""vector_attention's compiled kernels: every instruction set, choice and odd size against the reference in float64."""

import itertools
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops import native, vector_attention
from sightline.ops.vector_attention import VECTOR_ATTENTION
from sightline.ops.window import output_size
from tests.ops import kernels

pytestmark = kernels.needs_kernels
SIZES = kernels.SIZES
WINDOWS = kernels.WINDOWS
CHOICES = [("softmax", "reflect"), ("none", "reflect"), ("softmax", "exclude"), ("softmax", "zero"), ("none", "zero")]
GROUPS = [(2, 8), (3, 5), (1, 9)]  # G, channels a group


def operands(size, window, groups=(2, 8), batch=2, dtype=torch.float32):
    (height, width), (kernel_size, stride, dilation), (count, share) = size, window, groups
    torch.manual_seed(height * 100 + width)
    grid = output_size(height, width, stride)
    logits = torch.randn(batch, count, kernel_size * kernel_size, *grid).to(dtype)
    value = torch.randn(batch, count * share, height, width).to(dtype)
    return (logits, value), {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}


def cpu(**options):
    return partial(vector_attention, **options, backend="cpu")


@pytest.mark.parametrize("level", kernels.LEVELS)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_against_float64(window, level):
    """Every size with every channel split; the five choices in turn, each met by every window."""
    with native.use_level(level):
        for index, (size, groups) in enumerate(itertools.product(SIZES, GROUPS)):
            normalise, border = CHOICES[index % len(CHOICES)]
            tensors, options = operands(size, window, groups, batch=1 + index % 2)
            kernels.check_against_float64(
                vector_attention, tensors, options | {"normalise": normalise, "border": border}
            )


@pytest.mark.parametrize("level", kernels.LEVELS)
def test_bfloat16(level):
    with native.use_level(level):
        for size, window in (((9, 11), (5, 1, 1)), ((8, 8), (3, 2, 1))):
            kernels.check_against_float64(vector_attention, *operands(size, window, dtype=torch.bfloat16))


@pytest.mark.parametrize("border", ["reflect", "exclude"])
def test_bands_of_rows_agree_with_float64(border):
    """A tall map of one group is cut into bands; values collect from several of them."""
    tensors, options = operands((150, 33), (7, 1, 1), (1, 4), batch=1)
    kernels.check_against_float64(vector_attention, tensors, options | {"border": border})


@pytest.mark.parametrize("size", [(23, 19), (1, 1)])
def test_any_number_of_threads_gives_the_same_bits(size):
    tensors, options = operands(size, (5, 1, 1))
    kernels.check_threads(cpu(**options), tensors)


@pytest.mark.parametrize("border", ["reflect", "zero"])
def test_layouts(border):
    tensors, options = operands((9, 6), (3, 2, 1), batch=3)
    kernels.check_layouts(cpu(**options, border=border), tensors)


def test_subsets_of_gradients():
    tensors, options = operands((5, 6), (3, 1, 1))
    kernels.check_subsets(cpu(**options), tensors)


def test_graphs_and_second_derivative():
    tensors, options = operands((5, 6), (3, 1, 1), batch=3)
    kernels.check_graphs(vector_attention, tensors, options, "vector_attention")
    for choice in ({"border": "reflect"}, {"border": "exclude"}, {"normalise": "none"}):
        kernels.check_second_derivative(vector_attention, tensors, options | choice)


def test_logits_and_value_of_two_dtypes():
    """Under autocast the logits may be wider than the value; each gradient has its operand's dtype."""
    (logits, value), options = operands((5, 6), (3, 1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        got = kernels.results(cpu(**options), (logits, value.bfloat16()))
    assert [one.dtype for one in got] == [torch.bfloat16, torch.float32, torch.bfloat16]
    expected = kernels.results(cpu(**options), (logits, value.bfloat16().float()))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=0.02, atol=0.02)


def test_flop_counter_sees_the_closed_form():
    tensors, options = operands((5, 6), (3, 1, 1))
    with FlopCounterMode(display=False) as counter:
        y = vector_attention(*(one.requires_grad_() for one in tensors), **options, backend="cpu")
        forward = counter.get_total_flops()
        y.sum().backward()
    assert forward == 2 * VECTOR_ATTENTION.cost(*tensors, **options).macs
    assert counter.get_total_flops() == forward + forward * 5 // 2


def test_extreme_logits():
    """Logits of +-1e4 and an empty batch: no overflow, no NaN."""
    (logits, value), options = operands((6, 7), (3, 1, 1))
    expected = vector_attention(logits.double() * 1e4, value.double(), **options, backend="reference")
    got = vector_attention(logits * 1e4, value, **options, backend="cpu")
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)
    assert vector_attention(logits[:0], value[:0], **options, backend="cpu").shape == (0, 16, 6, 7)


def test_objections():
    tensors, options = operands((5, 6), (3, 1, 1))
    with pytest.raises(NotImplementedError, match=r"float32 and bfloat16 tensors on the CPU; got torch.float64 on cpu"):
        vector_attention(*(one.double() for one in tensors), **options, backend="cpu")
