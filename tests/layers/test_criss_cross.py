"""CrissCrossAttention and its 3-D form: golden cases, loops, reach of the recurrence, the printed costs, the contract."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sightline.layers import CrissCrossAttention, CrissCrossAttention3d
from sightline.layers.criss_cross_pass import side_by_side
from sightline.ops.pairwise_attention import PAIRWISE_ATTENTION
from sightline.ops.support import dense
from tests import golden_cases
from tests.layers import contract_nd
from tests.layers.contract import check_layer
from tests.ops.kernels import check_many_gradients


def shaken(layer):
    """The layer with every parameter drawn at random, so that its gate is open."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)
        layer.gamma.fill_(0.8)
    return layer


@pytest.mark.parametrize("name", golden_cases.names("ccnet_*"))
def test_golden(name):
    case = golden_cases.load(name)
    c = case.config
    layer = CrissCrossAttention(c["in_channels"], c["query_channels"], c["recurrence"]).double()
    named = {theirs: layer.get_parameter(theirs) for theirs in case.part("param")}
    for theirs, parameter in named.items():
        parameter.data.copy_(case.tensors[f"param.{theirs}"].reshape(parameter.shape))
    x = case.tensors["input.x"].requires_grad_()
    outputs = {"y": layer(x)}
    if c["recurrence"] == 2:
        once = copy.deepcopy(layer)
        once.recurrence = 1
        outputs["y_after_1"] = once(x)
    assert outputs.keys() == case.part("output").keys()
    golden_cases.check(case, outputs, {"x": x, **named})


def by_hand(layer, x):
    """The recurrence position by position, from the state_dict alone."""
    state = {name: value.flatten(1) if value.ndim > 1 else value for name, value in layer.state_dict().items()}
    grid = tuple(x.shape[2:])
    places = list(itertools.product(*map(range, grid)))
    for _ in range(layer.recurrence):
        y = torch.empty_like(x)
        for b in range(x.shape[0]):
            pixel = {at: x[(b, slice(None), *at)] for at in places}
            key = {at: state["key.weight"] @ p + state["key.bias"] for at, p in pixel.items()}
            value = {at: state["value.weight"] @ p + state["value.bias"] for at, p in pixel.items()}
            for here in places:
                query = state["query.weight"] @ pixel[here] + state["query.bias"]
                seen = [at for at in places if sum(a != h for a, h in zip(at, here, strict=True)) <= 1]
                odds = [math.exp(query @ key[at]) for at in seen]
                mixed = sum(odd / sum(odds) * value[at] for odd, at in zip(odds, seen, strict=True))
                y[(b, slice(None), *here)] = state["gamma"] * mixed + pixel[here]
        x = y
    return x


@pytest.mark.parametrize("recurrence", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 4), (1, 2, 3), (2, 2, 3)])
def test_equals_loops(size, recurrence):
    kind = CrissCrossAttention if len(size) == 2 else CrissCrossAttention3d
    layer = shaken(kind(4, 2, recurrence)).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(layer(x), by_hand(layer, x))


@pytest.mark.parametrize("kind", [CrissCrossAttention, CrissCrossAttention3d])
def test_default_recurrence_reaches_everything_and_one_less_does_not(kind):
    """A pass changes one coordinate: R passes reach the positions that differ in at most R of them."""
    size = (3, 4) if kind is CrissCrossAttention else (2, 3, 2)
    places = list(itertools.product(*map(range, size)))
    for recurrence in range(1, len(size) + 1):
        layer = shaken(kind(4, recurrence=recurrence)).double()
        x = torch.randn(1, 4, *size, dtype=torch.float64, requires_grad=True)
        y = layer(x)[0]
        for here in places:
            (slope,) = torch.autograd.grad(y[(slice(None), *here)].sum(), x, retain_graph=True)
            reached = {at for at in places if slope[(0, slice(None), *at)].abs().sum() > 0}
            apart = {at: sum(a != h for a, h in zip(at, here, strict=True)) for at in places}
            assert reached == {at for at in places if apart[at] <= recurrence}
    assert kind(4).recurrence == len(size)


@pytest.mark.parametrize("kind", [CrissCrossAttention, CrissCrossAttention3d])
def test_starts_as_the_identity_and_can_leave_it(kind):
    layer = kind(16)
    x = torch.randn(2, 16, *((3, 4) if kind is CrissCrossAttention else (2, 3, 2)))
    y = layer(x)
    torch.testing.assert_close(y, x, rtol=0, atol=0)
    y.square().sum().backward()
    assert layer.gamma.grad.abs().max() > 0
    assert layer.value.weight.grad.abs().max() == 0


def test_transposing_the_map_transposes_the_answer():
    layer = shaken(CrissCrossAttention(4)).double()
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x.transpose(2, 3)), layer(x).transpose(2, 3))
    deep = shaken(CrissCrossAttention3d(4)).double()
    video = x.reshape(2, 4, 3, 5, 1)
    torch.testing.assert_close(deep(video.permute(0, 1, 4, 3, 2)), deep(video).permute(0, 1, 4, 3, 2))


def test_tap_is_called_once_a_pass_and_shows_a_dense_map():
    layer = shaken(CrissCrossAttention(8)).double()
    seen = []
    handle = layer.attend.register_forward_hook(lambda _module, operands, y: seen.append((operands, y)))
    layer(torch.randn(2, 8, 3, 5, dtype=torch.float64))
    handle.remove()
    assert len(seen) == layer.recurrence == 2
    queries = torch.arange(15)
    for operands, y in seen:
        spread = dense(layer.attend.support, layer.attend.weights(*operands), queries, 3, 5)
        mixed = torch.einsum("bqk,bek->beq", spread.flatten(3)[:, 0], operands[2].flatten(2))
        torch.testing.assert_close(mixed, y.flatten(2))


def attention_macs(layer, size):
    """Multiply-adds of all passes on a map of this size: the projections and the op."""
    positions = math.prod(size)
    projections = positions * sum(part.weight.numel() for part in (layer.query, layer.key, layer.value))
    width, depth = layer.value.out_channels, layer.query.out_channels
    operands = [torch.empty(1, channels, *size, device="meta") for channels in (depth, depth, width)]
    return layer.recurrence * (projections + layer.attend.cost(*operands).macs), projections, operands


def test_printed_parameters_and_costs():
    """One 769 x 769 image at stride 8, 512 channels; the paper counts multiply and add apart: 16.5 against 108 GFLOPs."""
    size = (97, 97)
    layer = CrissCrossAttention(512, device="meta")
    assert sum(p.numel() for p in layer.parameters()) == 328_321
    for recurrence, gflops in ((1, 8.26), (2, 16.52), (3, 24.77)):
        layer.recurrence = recurrence
        macs, projections, operands = attention_macs(layer, size)
        assert round(2e-9 * macs, 2) == gflops
    everywhere = PAIRWISE_ATTENTION.cost(*operands)
    assert round(2e-9 * (projections + everywhere.macs), 2) == 108.15
    assert round(4e-6 * everywhere.weights_stored) == 354
    assert round(4e-6 * layer.attend.cost(*operands).weights_stored, 1) == 7.3


def answers(layer, x, g):
    """Output and gradients of everything that wants one."""
    y = layer(x)
    wanted = [one for one in (x, *layer.parameters()) if one.requires_grad]
    return [y, *torch.autograd.grad(y, wanted, g.to(y.dtype))]


def close(found, exact, tolerance=1e-5):
    """A gradient that is zero in theory (the keys' bias) is rounding alone, held to the size of the others."""
    largest = max(float(one.detach().abs().max()) for one in exact[1:])
    for one, other in zip(found, exact, strict=True):
        assert one.dtype is torch.float32
        scale = max(float(other.detach().abs().max()), 0.05 * largest)
        assert float((one.detach().double() - other.detach()).abs().max()) <= tolerance * scale


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (1, 9), (17, 2), (13, 1), (3, 5, 2), (1, 1, 1)])
def test_passes_by_kernels_are_those_of_the_reference(size, last):
    """float32 runs `Pass`, without gradients its products into one buffer; float64 the references, operation by operation."""
    layer = shaken((CrissCrossAttention if len(size) == 2 else CrissCrossAttention3d)(6, 3))
    x, g = torch.randn(3, 6, *size), torch.randn(3, 6, *size)
    if last:
        x = side_by_side(x)
    exact = answers(copy.deepcopy(layer).double(), x.double().requires_grad_(), g)
    found = answers(layer, x.clone().requires_grad_(), g)
    close(found, exact)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), found[0].detach(), rtol=0, atol=0)
    for frozen in ([layer.gamma, layer.key.weight, layer.key.bias], list(layer.parameters())[1:]):
        some = copy.deepcopy(layer)
        for name, parameter in some.named_parameters():
            parameter.requires_grad_(all(layer.get_parameter(name) is not one for one in frozen))
        kept = [parameter.requires_grad for parameter in some.parameters()]
        close(answers(some, x, g), [exact[0], *(one for one, want in zip(exact[2:], kept, strict=True) if want)])


@pytest.mark.parametrize("kind", [CrissCrossAttention, CrissCrossAttention3d])
def test_projections_that_were_changed_hooked_or_pruned_are_called(kind):
    layer, seen = shaken(kind(6, 3)).double(), []
    x = torch.randn(2, 6, *(5, 7, 3)[: layer.axes.count(",") - 1], dtype=torch.float64)
    expected = layer(x)
    layer.key.bias = None  # it adds to every logit of a query the same
    torch.testing.assert_close(layer(x), expected)
    layer.query = nn.Sequential(layer.query)
    torch.testing.assert_close(layer(x), expected)
    handle = layer.value.register_forward_hook(lambda *_: seen.append("value"))
    torch.testing.assert_close(layer(x), expected)
    assert seen == ["value"] * layer.recurrence
    handle.remove()
    prune.l1_unstructured(layer.value, "weight", 0.5)
    for _ in range(2):  # a hook makes the weight anew for every backward pass
        layer(x).sum().backward()
    pruned = layer(x)
    layer.value.weight_orig.data.zero_()
    assert not torch.allclose(layer(x), pruned)


def test_passes_can_be_differentiated_again():
    layer, x = shaken(CrissCrossAttention(4, 2)), torch.randn(2, 4, 3, 5)

    def curvature(layer, x):
        inputs = [x.requires_grad_(), *layer.parameters()]
        slopes = torch.autograd.grad(layer(x).square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(one.square().sum() for one in slopes), inputs)

    exact = curvature(copy.deepcopy(layer).double(), x.double())
    close(curvature(layer, x.clone()), exact)


def test_many_gradients_at_once():
    check_many_gradients(shaken(CrissCrossAttention(4, 2)), [torch.randn(2, 4, 3, 5)])


def test_a_pass_keeps_its_input_and_projections_alone():
    layer, x = shaken(CrissCrossAttention(32, 4)), torch.randn(2, 32, 11, 13)
    kept: dict[int, int] = {}

    def remember(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        layer(x.requires_grad_())
    weights = sum(one.numel() for one in layer.parameters())
    assert sum(kept.values()) <= 4 * (layer.recurrence * (32 + 40) * 2 * 11 * 13 + 3 * weights)


@pytest.mark.parametrize("options", [{}, {"query_channels": 3, "recurrence": 1}])
def test_contract(options):
    check_layer(lambda: shaken(CrissCrossAttention(6, **options)), 6)


def test_contract_in_three_dimensions():
    layer = shaken(CrissCrossAttention3d(4)).eval()
    contract_nd.check_sizes(layer, 4, ((1, 1, 1), (1, 4, 3), (3, 1, 2), (2, 3, 4)))
    contract_nd.check_graphs(layer, torch.randn(2, 4, 2, 3, 4))


def test_query_width_is_an_eighth_and_at_least_one():
    assert CrissCrossAttention(17).query.out_channels == 2
    assert CrissCrossAttention(3).query.out_channels == 1


@pytest.mark.parametrize("kind", [CrissCrossAttention, CrissCrossAttention3d])
def test_errors_quote_value_and_rule(kind):
    with pytest.raises(ValueError, match="recurrence must be at least 1; got 0"):
        kind(8, recurrence=0)
    with pytest.raises(ValueError, match="channels must be positive; got in_channels=8, query_channels=0"):
        kind(8, query_channels=0)
    with pytest.raises(ValueError, match=rf"{kind.__name__} takes \(B, C, .*; got a tensor of shape \(8, 2, 3\)"):
        kind(8)(torch.zeros(8, 2, 3))
