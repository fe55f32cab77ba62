"""PairwiseSelfAttention2d and PatchwiseSelfAttention2d: golden cases and the contract of all layers."""

import pytest
import torch
from torch import nn

from sightline.layers import PairwiseSelfAttention2d, PatchwiseSelfAttention2d
from sightline.layers.san_parts import coordinates
from sightline.ops.support import dense
from tests import golden_cases
from tests.layers.contract import check_layer, check_sizes

KINDS = {"pairwise": PairwiseSelfAttention2d, "patchwise": PatchwiseSelfAttention2d}
# golden's names for our modules
NAMES = {
    "pos": "position",
    "w_bn1": "mapping.norm1",
    "w_fc1": "mapping.linear1",
    "w_bn2": "mapping.norm2",
    "w_fc2": "mapping.linear2",
}


def ours(theirs: str) -> str:
    """Our name of golden's parameter or buffer: pos.weight -> position.weight."""
    module, _, leaf = theirs.rpartition(".")
    return f"{NAMES.get(module, module)}.{leaf}"


def fill(layer: nn.Module, case: golden_cases.Golden) -> dict[str, nn.Parameter]:
    """Give the layer the case's parameters and buffers; its parameters by golden's names."""
    leaves = {}
    for theirs, tensor in case.part("param").items():
        leaves[theirs] = parameter = layer.get_parameter(ours(theirs))
        parameter.data.copy_(tensor.reshape(parameter.shape))
    for theirs, tensor in case.part("buffer").items():
        layer.get_buffer(ours(theirs)).copy_(tensor)
    assert len(leaves) == len(list(layer.parameters()))
    return leaves


@pytest.mark.parametrize("name", golden_cases.names("san_sam_*"))
def test_golden(name):
    case = golden_cases.load(name)
    c = case.config
    layer = KINDS[c["sa_type"]](
        c["in_planes"],
        c["out_planes"],
        c["kernel_size"],
        c["stride"],
        c["dilation"],
        rel_channels=c["rel_planes"],
        share=c["share_planes"],
    ).double()
    leaves = fill(layer, case)
    layer.train(c["mode"] == "train")
    x = case.tensors["input.x"].requires_grad_()
    outputs = {"y": layer(x)}
    for theirs in case.part("output").keys() - {"y"}:
        outputs[theirs] = layer.get_buffer(ours(theirs))
    golden_cases.check(case, outputs, leaves | {"x": x})


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "position": "absolute"}, {"border": "exclude", "relation": "dot"}]
)
def test_contract_pairwise(options):
    check_layer(lambda: PairwiseSelfAttention2d(6, 8, 3, **options), 6, options.get("stride", 1))


@pytest.mark.parametrize("options", [{}, {"stride": 2, "relation": "clique", "border": "zero"}])
def test_contract_patchwise(options):
    check_layer(lambda: PatchwiseSelfAttention2d(6, 8, 3, **options), 6, options.get("stride", 1))


@pytest.mark.parametrize("relation", ["subtraction", "summation", "concatenation", "hadamard", "dot"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_pairwise_variant_takes_any_size(relation, depth):
    build = lambda: PairwiseSelfAttention2d(4, 6, 5, 3, 2, relation=relation, mapping_depth=depth, position="none")  # noqa: E731
    check_sizes(build, 4, 3, sizes=((1, 1), (4, 3)))


@pytest.mark.parametrize("relation", ["concatenation", "star", "clique"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_patchwise_variant_takes_any_size(relation, depth):
    build = lambda: PatchwiseSelfAttention2d(4, 6, 3, 3, 2, relation=relation, mapping_depth=depth)  # noqa: E731
    check_sizes(build, 4, 3, sizes=((1, 1), (4, 3)))


@pytest.mark.parametrize("kind", KINDS.values())
def test_defaults_follow_the_ratios_of_the_paper(kind):
    layer = kind(10, 24, 3)
    assert layer.query.out_channels == layer.key.out_channels == 6
    assert layer.attend.support.kernel_size == 3
    x = torch.randn(1, 10, 4, 4)
    groups = {12: 2, 24: 3, 7: 1, 3: 1}  # share 6, 8, 7, 3
    for out, count in groups.items():
        shared = kind(10, out, 3).eval()
        seen = []
        shared.attend.register_forward_hook(lambda _, operands, __, seen=seen: seen.append(operands[0].shape))
        shared(x)
        assert seen[0][:3] == (1, count, 9)
    assert kind(10).value.out_channels == 10


@pytest.mark.parametrize(("kind", "signed"), [(PairwiseSelfAttention2d, False), (PatchwiseSelfAttention2d, True)])
def test_tap_shows_the_weights_behind_the_output(kind, signed):
    layer = kind(5, 8, 3, share=4).double().eval()
    operands = []
    layer.attend.register_forward_hook(lambda _, given, __: operands.extend(given))
    x = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    y = layer(x)
    queries = torch.tensor([0, 7, 23])
    weights = layer.attend.weights(*operands, queries=queries)
    assert weights.shape == (2, 2, 3, 9)
    assert bool(weights.min() < 0) == signed
    maps = dense(layer.attend.support, weights, queries, 4, 6)  # B, G, Q, H, W
    value = layer.value(x).unflatten(1, (4, 2))  # interleaved: channel = 2 * index + group
    expected = torch.einsum("bgqhw,bcghw->bcgq", maps, value).flatten(1, 2)
    torch.testing.assert_close(y.flatten(2)[..., queries], expected)


@pytest.mark.parametrize(
    ("kind", "position", "moves_along"),
    [
        (PairwiseSelfAttention2d, "relative", True),
        (PairwiseSelfAttention2d, "none", True),
        (PairwiseSelfAttention2d, "absolute", False),
        (PatchwiseSelfAttention2d, None, True),
    ],
)
def test_translation_equivariance_in_the_interior(kind, position, moves_along):
    torch.manual_seed(0)
    layer = kind(4, 8, 3, **({} if position is None else {"position": position})).double().eval()
    x = torch.randn(1, 4, 8, 9, dtype=torch.float64)
    y, moved = layer(x), layer(torch.roll(x, (1, 2), (2, 3)))
    same = torch.allclose(moved[:, :, 2:-1, 3:-1], y[:, :, 1:-2, 1:-3], atol=1e-10)
    assert same == moves_along


def test_coordinates_are_column_and_row_from_minus_one_to_one():
    grid = coordinates(3, 5, torch.zeros((), dtype=torch.float64))
    assert grid.shape == (1, 2, 3, 5)
    assert grid[0, 0].tolist() == [[-1, -0.5, 0, 0.5, 1]] * 3
    assert grid[0, 1].tolist() == [[-1] * 5, [0] * 5, [1] * 5]
    assert coordinates(1, 1, torch.zeros(())).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (PairwiseSelfAttention2d, {"share": 3}, "share must divide out_channels; got share=3, out_channels=8"),
        (PairwiseSelfAttention2d, {"relation": "star"}, "kind must be one of subtraction, .*; got 'star'"),
        (PairwiseSelfAttention2d, {"position": "learned"}, "position must be one of .*; got 'learned'"),
        (PairwiseSelfAttention2d, {"rel_channels": 0}, "rel_channels must be at least 1; got 0"),
        (PairwiseSelfAttention2d, {"mapping_depth": 0}, "mapping_depth must be at least 1; got 0"),
        (PatchwiseSelfAttention2d, {"border": "exclude"}, "border must be one of reflect, zero; got 'exclude'"),
        (PatchwiseSelfAttention2d, {"relation": "dot"}, "kind must be one of concatenation, star, clique; got 'dot'"),
        (PatchwiseSelfAttention2d, {"kernel_size": 4}, "kernel_size must be odd and positive.*got 4"),
    ],
)
def test_errors_quote_value_and_rule(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(8, 8, **options)
