"""SAN's gamma by the Triton kernels, in inference: what its modules compute, in float64; and what it refuses."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sightline.layers import PairwiseSelfAttention2d, PatchwiseSelfAttention2d, san_fused
from sightline.ops import use_backend
from tests.layers.test_san_fused import made
from tests.ops import gpu, kernels
from tests.ops.largest import Largest

pytestmark = gpu.needs_triton
PAIRWISE = list(
    itertools.product(("subtraction", "summation"), ("relative", "absolute", "none"), ("reflect", "zero", "exclude"))
)
PATCHWISE = list(itertools.product(("distinct", "query=key"), ("reflect", "zero"), (2, 3)))
FORMS = [
    ((1, 5), 3, {"rel_channels": 17, "share": 1}),
    ((2, 9), 7, {}),
    ((13, 2), 5, {"rel_channels": 5, "share": 4}),
    ((5, 11), 3, {"rel_channels": 72, "share": 16}),
]  # map, window, widths


class _SeenError(Exception):
    """Carries the logits out of a layer, whose aggregation is tested elsewhere."""


def logits(layer, x, backend):
    """What gamma hands to the op."""

    def stop(_module, given):
        raise _SeenError(given[0])

    hook = layer.attend.register_forward_pre_hook(stop)
    with torch.no_grad(), use_backend(backend), pytest.raises(_SeenError) as seen:
        layer(x)
    hook.remove()
    return seen.value.args[0]


def check(layer, size, dtype=torch.float32, layout=lambda t: t):
    """The kernel's error is at most twice the modules' own in this precision; `gpu.check` says why the interpreter's is larger."""
    times = 6 if dtype is torch.bfloat16 and gpu.support.INTERPRETING else 2
    layer = layer.to(gpu.DEVICE).eval()
    x = layout(torch.randn(1 + (size[0] == 1), 16, *size, device=gpu.DEVICE).to(dtype))
    exact = logits(copy.deepcopy(layer).double(), x.double(), "reference")
    layer = layer.to(dtype)
    plain = logits(layer, x, "reference")
    with kernels.poisoned():
        found = logits(layer, x, "triton")
    assert found.dtype is dtype
    error, allowed = ((one.double() - exact).abs() for one in (found, plain))
    floor = 16 * torch.finfo(torch.float32).eps * float(exact.abs().max())
    assert error.max() <= times * allowed.max() + floor
    assert error.mean() <= times * allowed.mean() + floor / 4


@pytest.mark.parametrize("form", [FORMS[0], *(pytest.param(one, marks=pytest.mark.slow) for one in FORMS[1:])], ids=str)
def test_pairwise_is_the_modules(form):
    size, window, widths = form
    place = FORMS.index(form)
    for relation, position, border in PAIRWISE[::7] if place == 0 else PAIRWISE[place - 1 :: 3]:
        options = {"relation": relation, "position": position, "border": border}
        check(made(PairwiseSelfAttention2d, 16, 16, window, **options, **widths), size)


@pytest.mark.parametrize("form", [FORMS[0], *(pytest.param(one, marks=pytest.mark.slow) for one in FORMS[1:])], ids=str)
def test_patchwise_is_the_modules(form):
    size, window, widths = form
    place = FORMS.index(form)
    for transforms, border, depth in PATCHWISE[::5] if place == 0 else PATCHWISE[place - 1 :: 3]:
        options = {"transforms": transforms, "border": border, "mapping_depth": depth}
        check(made(PatchwiseSelfAttention2d, 16, 16, window, **options, **widths), size)


@pytest.mark.parametrize("dtype", gpu.HALVES, ids=str)
@pytest.mark.parametrize("layer", [PairwiseSelfAttention2d, PatchwiseSelfAttention2d])
def test_narrow_floats_and_channels_last(layer, dtype):
    last = lambda t: t.contiguous(memory_format=torch.channels_last)  # noqa: E731
    check(made(layer, 16, 16, 3), (3, 7), dtype, last)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [PairwiseSelfAttention2d, PatchwiseSelfAttention2d])
def test_graphs_strides_and_empty_batches(layer):
    built = made(layer, 16, 16, 3).to(gpu.DEVICE).eval()
    x = torch.randn(1, 16, 3, 4, device=gpu.DEVICE)
    with torch.no_grad(), use_backend("triton"):
        expected = built(x)
        compiled = torch.compile(built, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), expected)
        torch.testing.assert_close(built(x.repeat_interleave(2, dim=-1)[..., ::2]), expected)
        torch.testing.assert_close(built(x.mT.contiguous().mT), expected)
        assert built(x[:0]).shape == (0, 16, 3, 4)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [PairwiseSelfAttention2d, PatchwiseSelfAttention2d])
def test_multiply_adds_memory_and_autocast(layer):
    """As many multiply-adds as the modules; nothing of the size of the relation; under autocast near float32."""
    built, x = (
        made(layer, 16, 16, 3, rel_channels=24).to(gpu.DEVICE).eval(),
        torch.randn(1, 16, 1, 8, device=gpu.DEVICE),
    )
    found, sizes = [], []
    for backend in ("triton", "reference"):
        with torch.no_grad(), use_backend(backend), FlopCounterMode(display=False) as counter, Largest() as largest:
            y = built(x)
        counts = counter.get_flop_counts()["Global"]
        found.append(sum(n for op, n in counts.items() if "vector_attention" not in str(op)))
        sizes.append(largest.numbers)
    assert found[0] == found[1]
    assert sizes[0] < sizes[1]  # the relation
    with torch.no_grad(), use_backend("triton"), torch.autocast(gpu.DEVICE, torch.bfloat16):
        narrow = built(x)
    assert narrow.dtype is torch.bfloat16
    torch.testing.assert_close(narrow.float(), y, rtol=0.05, atol=0.1)


def test_what_it_leaves_to_the_modules():
    built = PairwiseSelfAttention2d(16, 16, 3).to(gpu.DEVICE).eval()
    query, options = torch.randn(2, 4, 5, 6, device=gpu.DEVICE), built.attend.options | {"backend": "triton"}
    objection = lambda **other: san_fused.pairwise_objection(built.mapping, query, "subtraction", options | other)  # noqa: E731
    assert "no gradients" in objection()
    with torch.no_grad():
        assert objection() is None
        assert "stride and dilation 1" in objection(stride=2)
        assert "moments of a batch" in san_fused.pairwise_objection(
            copy.deepcopy(built.mapping).train(), query, "subtraction", options
        )
        wide = PairwiseSelfAttention2d(16, 16, 3, rel_channels=200).to(gpu.DEVICE).eval()
        assert "up to 128 channels" in san_fused.pairwise_objection(
            wide.mapping, query, "subtraction", wide.attend.options | {"backend": "triton"}
        )


def test_a_call_that_can_not_be_served_says_why():
    key, norm = torch.randn(1, 2, 3, 4, device=gpu.DEVICE), nn.BatchNorm2d(18, device=gpu.DEVICE)
    weight = torch.ones(5, 18, device=gpu.DEVICE)
    known = san_fused.norm(norm.eval(), lambda: weight, key, 1)
    run = san_fused.window_triton.run
    with pytest.raises(NotImplementedError, match="backend 'triton' of window_mapping: it has no gradients"):
        run(None, key, known, weight, kernel_size=3, reflect=True)
    with torch.no_grad(), pytest.raises(ValueError, match=r"need a norm and a weight of 50 channels .* got 18 and 18"):
        run(None, key, known, weight, kernel_size=5, reflect=True)
    batch = san_fused.Norm(known.gain, known.offset, known.moments, known.eps, True)
    with torch.no_grad(), pytest.raises(NotImplementedError, match="known moments, not the batch's own"):
        run(None, key, batch, weight, kernel_size=3, reflect=True)
