"""SAN's gamma through compiled kernels: outputs, every gradient and the running averages of the modules it stands for."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sightline.layers import PairwiseSelfAttention2d, PatchwiseSelfAttention2d, san_fused
from sightline.ops import native
from sightline.ops.dispatch import use_backend
from sightline.ops.relation_mapping import Norm, moments, relation_mapping
from sightline.ops.window_mapping import window_mapping
from tests.ops.kernels import LEVELS, check_threads, needs_kernels

pytestmark = needs_kernels
PAIRWISE = list(
    itertools.product(("subtraction", "summation"), ("relative", "absolute", "none"), ("reflect", "zero", "exclude"))
)
PATCHWISE = list(itertools.product(("distinct", "query=key"), ("reflect", "zero"), (2, 3)))
SIZES = [(7, 9), (1, 5), (13, 2), (11, 23)]


def made(layer, *args, **options):
    """A layer whose norms and running averages are not the identity's."""
    torch.manual_seed(0)
    built = layer(*args, **options)
    for norm in (one for one in built.modules() if isinstance(one, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        for one in (norm.bias, norm.running_mean):
            nn.init.normal_(one)
    return built


def run(layer, x, cotangent, backend):
    """Output, gradients of input and parameters, buffers after the call, by name."""
    layer, x = copy.deepcopy(layer), x.clone().requires_grad_()
    with use_backend(backend):
        y = layer(x)
    y.backward(cotangent)
    found = {"output": y.detach(), "input": x.grad}
    return found | {name: one.grad for name, one in layer.named_parameters()} | dict(layer.named_buffers())


def check(layer, size, training, batch=2):
    layer.train(training)
    x = torch.randn(batch, 24, *size)
    cotangent = torch.randn_like(layer.eval()(x)) if not training else torch.randn(batch, 32, *size)
    layer.train(training)
    got, plain = run(layer, x, cotangent, "cpu"), run(layer, x, cotangent, "reference")
    exact = run(copy.deepcopy(layer).double(), x.double(), cotangent.double(), "reference")
    for name, true in exact.items():
        error, allowed = ((one[name].double() - true).abs().max() for one in (got, plain))
        assert error <= 4 * allowed + 1e-5 * true.abs().max() + 2e-5, (name, error, allowed)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("training", [True, False])
def test_pairwise_is_the_modules(level, training):
    with native.use_level(level):
        for index, (relation, position, border) in enumerate(PAIRWISE):
            layer = made(PairwiseSelfAttention2d, 24, 32, 5, relation=relation, position=position, border=border)
            assert (
                san_fused.pairwise_objection(layer.mapping, torch.zeros(2, 8, 7, 9), relation, layer.attend.options)
                is None
            )
            check(layer, SIZES[index % len(SIZES)], training, batch=1 + index % 3)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("training", [True, False])
def test_patchwise_is_the_modules(level, training):
    with native.use_level(level):
        for index, (transforms, border, depth) in enumerate(PATCHWISE):
            options = {"transforms": transforms, "border": border, "mapping_depth": depth}
            layer = made(PatchwiseSelfAttention2d, 24, 32, 5, share=(8, 32)[index % 2], **options)
            assert (
                san_fused.patchwise_objection(
                    layer.mapping, torch.zeros(2, 8, 7, 9), "concatenation", layer.attend.options
                )
                is None
            )
            check(layer, SIZES[index % len(SIZES)], training, batch=2 + index % 2)


@pytest.mark.parametrize("layer", [PairwiseSelfAttention2d, PatchwiseSelfAttention2d])
def test_graphs_export_and_autocast(layer):
    built = made(layer, 12, 16, 3)
    x = torch.randn(2, 12, 9, 11)
    built.eval()
    compiled = torch.compile(built, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), built(x))
    program = torch.export.export(built, (x,))
    assert "sightline" not in program.graph_module.code
    torch.testing.assert_close(program.module()(x), built(x))
    with torch.autocast("cpu", torch.bfloat16):
        y = built(x)
    assert y.dtype is torch.bfloat16
    torch.testing.assert_close(y.float(), built(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("layer", [PairwiseSelfAttention2d, PatchwiseSelfAttention2d])
def test_what_is_not_a_number_stays_none(layer, level):
    built = made(layer, 12, 16, 3).eval()
    for norm in (one for one in built.mapping if isinstance(one, torch.nn.BatchNorm2d)):
        bias = norm.bias.data.clone()
        norm.bias.data[0] = torch.nan  # the values stay numbers
        with native.use_level(level), use_backend("cpu"):
            assert built(torch.randn(1, 12, 9, 11)).isnan().all()
        norm.bias.data = bias


def test_any_number_of_threads_gives_the_same_bits():
    torch.manual_seed(0)
    K, relation, hidden = 3, 10, 5

    def pairs(centre, around, weight1, weight2, bias):
        one = Norm(
            torch.ones(relation), torch.zeros(relation), moments(centre.detach(), around.detach(), K), 1e-5, True
        )
        found = moments(centre.detach(), around.detach(), K, one, weight1.detach())
        two = Norm(torch.ones(hidden), torch.zeros(hidden), found, 1e-5, True)
        return relation_mapping(centre, around, one, weight1, two, weight2, bias, kernel_size=K)

    shapes = ((2, relation, 9, 11), (2, relation, 11, 13), (hidden, relation), (3, hidden), (3,))
    check_threads(pairs, [torch.randn(*shape) for shape in shapes])

    def windows(around, gain, weight):
        norm = Norm(
            gain,
            torch.zeros_like(gain),
            torch.stack([torch.zeros_like(gain), torch.ones_like(gain)]).detach(),
            0,
            False,
        )
        return window_mapping(around, norm, weight, kernel_size=K)

    check_threads(windows, [torch.randn(*shape) for shape in ((3, 6, 11, 13), (6 * K * K,), (5, 6 * K * K))])


def test_shapes_that_do_not_belong_together():
    norm = Norm(torch.ones(4), torch.zeros(4), torch.ones(2, 4), 1e-5, False)
    with pytest.raises(ValueError, match=r"needs an around of \(1, 4, 7, 8\), its border included; got \(1, 4, 5, 6\)"):
        relation_mapping(
            *[torch.zeros(1, 4, 5, 6)] * 2, norm, torch.ones(4, 4), norm, torch.ones(2, 4), torch.ones(2), kernel_size=3
        )
    with pytest.raises(ValueError, match="a norm and a weight of 36 channels; got 4 and 36"):
        window_mapping(torch.zeros(1, 4, 5, 6), norm, torch.ones(2, 36), kernel_size=3)


@pytest.mark.parametrize("layer", [PairwiseSelfAttention2d, PatchwiseSelfAttention2d])
def test_multiply_adds_are_those_of_the_modules(layer):
    built, x, found = made(layer, 12, 16, 3).eval(), torch.randn(2, 12, 5, 6), []
    for backend in ("cpu", "reference"):
        with use_backend(backend), FlopCounterMode(display=False) as counter:
            built(x)
        counts = counter.get_flop_counts()["Global"]
        found.append(sum(n for op, n in counts.items() if "vector_attention" not in str(op)))
    assert found[0] == found[1]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_averages_over_several_calls(momentum):
    built = made(PairwiseSelfAttention2d, 12, 16, 3)
    for norm in (built.mapping.norm1, built.mapping.norm2):
        norm.momentum = momentum
    other = copy.deepcopy(built)
    for _ in range(3):
        x = torch.randn(2, 12, 5, 6)
        built(x)
        with use_backend("reference"):
            other(x)
    for (name, one), expected in zip(built.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-6, msg=name)


def test_what_the_kernels_leave_to_the_modules():
    built = PairwiseSelfAttention2d(12, 16, 3)
    query, options = torch.randn(2, 4, 5, 6), built.attend.options
    objection = lambda mapping=built.mapping, relation="subtraction", query=query, **other: (  # noqa: E731
        san_fused.pairwise_objection(mapping, query, relation, options | other)
    )
    assert objection() is None
    assert "relations subtraction, summation" in objection(relation="hadamard")
    assert "stride and dilation 1" in objection(stride=2)
    assert "another backend" in objection(backend="reference")
    assert "nothing to normalise" in objection(query=query[:0])
    assert "torch.float64" in objection(query=query.double())
    seen = []
    handle = built.mapping.norm2.register_forward_hook(lambda *_: seen.append(1))
    assert "hooks" in objection()
    built(torch.randn(2, 12, 5, 6))
    assert seen == [1]
    handle.remove()
    built.mapping.norm1 = nn.GroupNorm(1, 6)
    assert "no other modules" in objection()
