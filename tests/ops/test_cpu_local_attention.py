"""local_attention's compiled kernels: every instruction set, border, stride and odd size against the reference in float64."""

import itertools
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops import local_attention, native
from sightline.ops.local_attention import LOCAL_ATTENTION
from sightline.ops.window import output_size
from tests.ops import kernels

pytestmark = kernels.needs_kernels
SIZES = kernels.SIZES
WINDOWS = [*kernels.WINDOWS, (9, 1, 1)]
DEPTHS = [(2, 8, 8, 4), (1, 3, 5, 1), (3, 2, 1, 0), (4, 2, 9, None)]  # heads, D, E, channels of the row table


def operands(size, window, depth, shared=False, batch=2, dtype=torch.float32):
    (height, width), (kernel_size, stride, dilation), (heads, key, value, part) = size, window, depth
    torch.manual_seed(height * 100 + width)
    make = lambda *shape: torch.randn(*shape).to(dtype)  # noqa: E731
    out = output_size(height, width, stride)
    maps = (
        make(batch, heads * key, *out),
        make(batch, heads * key, height, width),
        make(batch, heads * value, height, width),
    )
    tables = (None, None)
    if part is not None:
        count = 1 if shared else heads
        tables = make(count, part, kernel_size), make(count, key - part, kernel_size)
    options = {"kernel_size": kernel_size, "heads": heads, "stride": stride, "dilation": dilation}
    return (*maps, *tables), options


def cpu(**options):
    return partial(local_attention, **options, backend="cpu")


@pytest.mark.parametrize("level", kernels.LEVELS)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_against_float64(window, level):
    cases = itertools.product(SIZES, DEPTHS)
    with native.use_level(level):
        for index, (size, depth) in enumerate(cases):
            tensors, options = operands(size, window, depth, shared=index % 3 == 0, batch=1 + index % 2)
            options["border"] = ("exclude", "zero")[index % 2 ^ (index // 4) % 2]
            kernels.check_against_float64(local_attention, tensors, options)


@pytest.mark.parametrize("level", kernels.LEVELS)
def test_bfloat16(level):
    with native.use_level(level):
        for size, window in (((9, 11), (5, 1, 1)), ((8, 8), (3, 2, 1))):
            tensors, options = operands(size, window, DEPTHS[0], dtype=torch.bfloat16)
            kernels.check_against_float64(local_attention, tensors, options)


@pytest.mark.parametrize("level", kernels.LEVELS)
def test_bands_of_rows_agree_with_float64(level):
    """A tall map of one head is cut into bands, and each band's backward slides over it."""
    with native.use_level(level):
        tensors, options = operands((150, 33), (7, 1, 1), (1, 4, 4, 2), batch=1)
        kernels.check_against_float64(local_attention, tensors, options)


@pytest.mark.parametrize("size", [(23, 19), (1, 1)])
def test_any_number_of_threads_gives_the_same_bits(size):
    tensors, options = operands(size, (5, 1, 1), DEPTHS[0])
    kernels.check_threads(cpu(**options), tensors)


def test_layouts():
    tensors, options = operands((9, 6), (3, 2, 1), DEPTHS[0])
    kernels.check_layouts(cpu(**options), tensors)


@pytest.mark.parametrize("level", kernels.LEVELS)
def test_groups_of_heads_in_both_layouts(level):
    """Heads are treated as many together as fill 64 channels, the last group smaller; channels come in fours and left over."""
    with native.use_level(level):
        for window, depth in (((5, 1, 1), (5, 20, 18, 10)), ((3, 2, 1), (3, 5, 30, 2)), ((3, 1, 1), (4, 7, 9, None))):
            tensors, options = operands((11, 14), window, depth)
            kernels.check_against_float64(local_attention, tensors, options)
            last = [one.contiguous(memory_format=torch.channels_last) for one in tensors[:3]]
            both = (kernels.results(cpu(**options), [*maps, *tensors[3:]]) for maps in (tensors[:3], last))
            for one, other in zip(*both, strict=True):
                assert torch.equal(one, other)


def test_subsets_of_gradients():
    tensors, options = operands((5, 6), (3, 1, 1), DEPTHS[1])
    kernels.check_subsets(cpu(**options), tensors)


def test_graphs_and_second_derivative():
    tensors, options = operands((5, 6), (3, 1, 1), DEPTHS[1], batch=3)
    kernels.check_graphs(local_attention, tensors, options, "local_attention")
    kernels.check_second_derivative(local_attention, tensors, options)


def test_some_channels_of_a_wider_map_stay_channels_last():
    """What one projection for query, key and value gives; the answer has the layout of the map."""
    wide = torch.randn(2, 24, 5, 6).contiguous(memory_format=torch.channels_last)
    y = local_attention(*wide.split(8, dim=1), kernel_size=3, heads=2, backend="cpu")
    assert y.is_contiguous(memory_format=torch.channels_last)
    apart = (one.contiguous() for one in wide.split(8, dim=1))
    assert torch.equal(y, local_attention(*apart, kernel_size=3, heads=2, backend="cpu"))


def test_autocast_keeps_float32_tables():
    tensors, options = operands((5, 6), (3, 1, 1), DEPTHS[0], dtype=torch.bfloat16)
    wide = *tensors[:3], *(one.float() for one in tensors[3:])
    with torch.autocast("cpu", torch.bfloat16):
        got = kernels.results(cpu(**options), wide)
    for one, other in zip(got, kernels.results(cpu(**options), tensors), strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=0.01, atol=0.01)
    assert [one.dtype for one in got[1:]] == [torch.bfloat16] * 3 + [torch.float32] * 2


def test_flop_counter_sees_the_closed_form():
    tensors, options = operands((5, 6), (3, 1, 1), DEPTHS[0])
    leaves = [one.requires_grad_() for one in tensors]
    with FlopCounterMode(display=False) as counter:
        y = local_attention(*leaves, **options, backend="cpu")
        forward = counter.get_total_flops()
        y.sum().backward()
    assert forward == 2 * LOCAL_ATTENTION.cost(*tensors, **options).macs
    assert counter.get_total_flops() == forward + forward * 5 // 2


def test_extreme_logits():
    """Logits of +-1e4 and an empty batch: no overflow, no NaN."""
    tensors, options = operands((6, 7), (3, 1, 1), (1, 4, 4, None))
    loud = (tensors[0] * 100, tensors[1] * 100, tensors[2], None, None)
    expected = local_attention(*kernels.doubles(loud), **options, backend="reference")
    torch.testing.assert_close(
        local_attention(*loud, **options, backend="cpu").double(), expected, rtol=1e-4, atol=1e-4
    )
    empty = [None if one is None else one[:0] for one in tensors]
    assert local_attention(*empty, **options, backend="cpu").shape == (0, 4, 6, 7)


def test_objections():
    tensors, options = operands((5, 6), (3, 1, 1), DEPTHS[0])
    with pytest.raises(
        NotImplementedError, match=r"takes float32 and bfloat16 tensors on the CPU; got torch.float64 on cpu"
    ):
        local_attention(*(one.double() for one in tensors), **options, backend="cpu")
    expected = torch.func.vmap(lambda *t: local_attention(*t, **options))(*(one.unsqueeze(0) for one in tensors))
    torch.testing.assert_close(expected[0], local_attention(*tensors, **options))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:FutureWarning")  # torch's own, in its first jvp
def test_a_compiled_forward_mode_derivative_is_the_references():
    """A compiler asks for transforms while it traces; the operator itself would drop the tangents without a word."""
    tensors = [torch.randn(1, 4, 5, 6) for _ in range(3)]

    def slope(*operands):
        return torch.func.jvp(partial(local_attention, kernel_size=3), operands, operands)[1]

    compiled = torch.compile(slope, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*tensors), slope(*tensors))


def test_many_gradients_at_once():
    kernels.check_many_gradients(partial(local_attention, kernel_size=3, backend="cpu"), [torch.randn(1, 4, 5, 6)] * 3)
