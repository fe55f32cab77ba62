"""local_relation's compiled kernels: every instruction set, choice and odd size against the reference in float64."""

import itertools
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops import local_relation, native
from sightline.ops.local_relation import LOCAL_RELATION
from sightline.ops.window import output_size
from tests.ops import kernels

pytestmark = kernels.needs_kernels
SIZES = kernels.SIZES
WINDOWS = kernels.WINDOWS
CHOICES = list(
    itertools.product(
        ("multiply", "squared_difference", "absolute_difference"), ("exclude", "zero"), ("contiguous", "interleaved")
    )
)
GROUPS = [(2, 8), (3, 5), (1, 9)]  # G, channels a group


def operands(size, window, groups=(2, 8), batch=2, dtype=torch.float32, geometry=True):
    (height, width), (kernel_size, stride, dilation), (count, share) = size, window, groups
    torch.manual_seed(height * 100 + width)
    make = lambda *shape: torch.randn(*shape).to(dtype)  # noqa: E731
    maps = (
        make(batch, count, *output_size(height, width, stride)),
        make(batch, count, height, width),
        make(batch, count * share, height, width),
    )
    prior = make(count, kernel_size * kernel_size) if geometry else None
    return (*maps, prior), {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}


def cpu(**options):
    return partial(local_relation, **options, backend="cpu")


@pytest.mark.parametrize("level", kernels.LEVELS)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_against_float64(window, level):
    """Every size with every channel split; the twelve choices in turn, each met by every window."""
    with native.use_level(level):
        for index, (size, groups) in enumerate(itertools.product(SIZES, GROUPS)):
            similarity, border, order = CHOICES[index % len(CHOICES)]
            tensors, options = operands(size, window, groups, batch=1 + index % 2, geometry=index % 3 > 0)
            chosen = {"similarity": similarity, "border": border, "order": order}
            kernels.check_against_float64(local_relation, tensors, options | chosen)


@pytest.mark.parametrize("level", kernels.LEVELS)
@pytest.mark.parametrize("order", ["contiguous", "interleaved"])
def test_groups_that_do_not_divide_the_channels(order, level):
    """20 channels, 8 to a group, in both layouts; with pairs of rows and without."""
    last = lambda t: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t  # noqa: E731
    with native.use_level(level):
        for window in ((5, 1, 1), (3, 2, 1)):
            tensors, options = operands((9, 21), window, (3, 8), batch=1)
            tensors = (*tensors[:2], tensors[2][:, :20], tensors[3])
            options |= {"order": order, "share": 8}
            kernels.check_against_float64(local_relation, tensors, options)
            kernels.check_against_float64(local_relation, tuple(map(last, tensors)), options)


@pytest.mark.parametrize("level", kernels.LEVELS)
def test_bfloat16(level):
    with native.use_level(level):
        for size, window in (((9, 11), (5, 1, 1)), ((8, 8), (3, 2, 1))):
            kernels.check_against_float64(local_relation, *operands(size, window, dtype=torch.bfloat16))


def test_bands_of_rows_agree_with_float64():
    """A tall map of one group is cut into bands; keys and the prior collect from several of them."""
    kernels.check_against_float64(local_relation, *operands((150, 33), (7, 1, 1), (1, 4), batch=1))


@pytest.mark.parametrize("size", [(23, 19), (1, 1)])
def test_any_number_of_threads_gives_the_same_bits(size):
    tensors, options = operands(size, (5, 1, 1))
    kernels.check_threads(cpu(**options), tensors)


@pytest.mark.parametrize("order", ["contiguous", "interleaved"])
def test_layouts(order):
    tensors, options = operands((9, 6), (3, 2, 1), batch=3)
    kernels.check_layouts(cpu(**options, order=order), tensors)


def test_subsets_of_gradients():
    tensors, options = operands((5, 6), (3, 1, 1))
    kernels.check_subsets(cpu(**options), tensors)


def test_graphs_and_second_derivative():
    tensors, options = operands((5, 6), (3, 1, 1), batch=3)
    kernels.check_graphs(local_relation, tensors, options, "local_relation")
    for similarity in ("multiply", "squared_difference"):
        kernels.check_second_derivative(local_relation, tensors, options | {"similarity": similarity})


def test_geometry_may_come_as_a_square():
    tensors, options = operands((5, 6), (3, 1, 1))
    square = (*tensors[:3], tensors[3].unflatten(1, (3, 3)))
    for one, other in zip(
        kernels.results(cpu(**options), square), kernels.results(cpu(**options), tensors), strict=True
    ):
        assert torch.equal(one.flatten(), other.flatten())


def test_autocast_keeps_a_float32_prior():
    tensors, options = operands((5, 6), (3, 1, 1), dtype=torch.bfloat16)
    wide = *tensors[:3], tensors[3].float()
    with torch.autocast("cpu", torch.bfloat16):
        got = kernels.results(cpu(**options), wide)
    for one, other in zip(got, kernels.results(cpu(**options), tensors), strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=0.01, atol=0.01)
    assert [one.dtype for one in got[1:]] == [torch.bfloat16] * 3 + [torch.float32]


def test_flop_counter_sees_the_closed_form():
    tensors, options = operands((5, 6), (3, 1, 1))
    with FlopCounterMode(display=False) as counter:
        y = local_relation(*(one.requires_grad_() for one in tensors), **options, backend="cpu")
        forward = counter.get_total_flops()
        y.sum().backward()
    assert forward == 2 * LOCAL_RELATION.cost(*tensors, **options).macs
    assert counter.get_total_flops() == forward + forward * 5 // 2


def test_extreme_logits():
    """Logits of +-1e4 and an empty batch: no overflow, no NaN."""
    tensors, options = operands((6, 7), (3, 1, 1))
    loud = (tensors[0] * 100, tensors[1] * 100, *tensors[2:])
    expected = local_relation(*kernels.doubles(loud), **options, backend="reference")
    got = local_relation(*loud, **options, backend="cpu")
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)
    assert local_relation(*(one[:0] for one in tensors[:3]), tensors[3], **options, backend="cpu").shape == (
        0,
        16,
        6,
        7,
    )


def test_objections():
    tensors, options = operands((5, 6), (3, 1, 1))
    with pytest.raises(NotImplementedError, match=r"float32 and bfloat16 tensors on the CPU; got torch.float64 on cpu"):
        local_relation(*(one.double() for one in tensors), **options, backend="cpu")
