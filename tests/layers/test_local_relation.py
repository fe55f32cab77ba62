"""LocalRelation2d: golden cases, channel groups, geometry prior, and the contract of all layers."""

import pytest
import torch

from sightline.layers import LocalRelation2d
from tests import golden_cases
from tests.layers.contract import check_dtypes, check_layer, check_sizes

OURS = {
    "query.weight": "query.weight",
    "query.bias": "query.bias",
    "key.weight": "key.weight",
    "key.bias": "key.bias",
    "geo_fc1.weight": "geometry.inner.weight",
    "geo_fc1.bias": "geometry.inner.bias",
    "geo_fc2.weight": "geometry.outer.weight",
    "geo_fc2.bias": "geometry.outer.bias",
    "out.weight": "out.weight",
    "out.bias": "out.bias",
}
SIMILARITY = {
    "multiply": "multiply",
    "squared_difference": "squared_difference",
    "abs_difference": "absolute_difference",
}


def build(config, backend):
    return LocalRelation2d(
        config["channels"],
        kernel_size=config["kernel_size"],
        stride=config["stride"],
        dilation=config["dilation"],
        share=config["share"],
        similarity=SIMILARITY[config["composability"]],
        geometry=config["geometry_prior"],
        geometry_hidden=config["geometry_hidden"] if config["geometry_prior"] else None,
        border=config["border"],
        projection=config["out_projection"],
        bias=config["out_projection"],
        backend=backend,
    ).double()


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("name", golden_cases.names("localrelation_*"))
def test_golden(name, backend):
    case = golden_cases.load(name)
    layer = build(case.config, backend)
    given = case.part("param")
    assert {OURS[theirs] for theirs in given} == dict(layer.named_parameters()).keys()
    for theirs, value in given.items():
        parameter = layer.get_parameter(OURS[theirs])
        parameter.data.copy_(value.reshape(parameter.shape))
    x = case.tensors["input.x"].requires_grad_()
    seen = []
    layer.attend.register_forward_hook(lambda tap, operands, y: seen.extend([operands, y]))
    outputs = {"y": layer(x)}
    if case.config["out_projection"]:
        outputs["aggregated"] = seen[1]
    if case.config["geometry_prior"]:
        outputs["geometry"] = seen[0][3].unflatten(1, (case.config["kernel_size"],) * 2)
    leaves = {"x": x} | {theirs: layer.get_parameter(OURS[theirs]) for theirs in given}
    golden_cases.check(case, outputs, leaves)


def test_contract():
    check_layer(lambda: LocalRelation2d(6, 5, 3, 2, share=4), 6, stride=2)


def test_contract_of_the_variants():
    options = {"share": 2, "similarity": "absolute_difference", "order": "interleaved", "geometry": False}
    check_sizes(lambda: LocalRelation2d(6, 5, 3, dilation=2, **options), 6)
    check_dtypes(lambda: LocalRelation2d(6, 5, 3, dilation=2, **options), 6)


@pytest.mark.parametrize(
    ("channels", "share", "groups", "last"), [(100, 8, 13, 4), (7, 3, 3, 1), (5, 8, 1, 5), (16, 8, 2, 8)]
)
def test_any_number_of_channels_is_grouped(channels, share, groups, last):
    torch.manual_seed(0)
    layer = LocalRelation2d(
        channels, kernel_size=3, share=share, projection=False, similarity="squared_difference"
    ).double()
    assert layer.query.out_channels == groups
    x = torch.randn(1, channels, 4, 5, dtype=torch.float64)
    seen = []
    layer.attend.register_forward_hook(lambda tap, operands, y: seen.append(tap.weights(*operands)))
    y = layer(x)
    weights = seen[0][0]  # G, Q, K*K
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))[0]
    for channel in (0, channels - last, channels - 1):
        for row, col in ((0, 0), (2, 3)):
            window = padded[channel, row : row + 3, col : col + 3].flatten()
            assert y[0, channel, row, col].item() == pytest.approx(
                (weights[channel // share, row * 5 + col] @ window).item()
            )


def test_interleaved_groups_of_any_number_of_channels_take_turns():
    torch.manual_seed(0)
    layer = LocalRelation2d(7, kernel_size=3, share=3, order="interleaved", projection=False).double()
    layer.geometry.outer.weight.data.zero_()
    layer.geometry.outer.bias.data.zero_()
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64).repeat(
        1, 7, 1, 1
    )  # equal channels: equal outputs where weights are shared
    y = layer(x)[0]
    for channel in range(7):
        torch.testing.assert_close(y[channel], y[channel % 3])
    assert not torch.allclose(y[0], y[1])


def test_geometry_prior_reads_row_then_column_in_taps():
    layer = LocalRelation2d(2, kernel_size=5, share=1, geometry_hidden=2, dilation=3)
    prior = layer.geometry
    prior.inner.weight.data.copy_(torch.eye(2))
    prior.inner.bias.data.fill_(10)  # keeps the ReLU open
    prior.outer.weight.data.copy_(torch.eye(2))
    prior.outer.bias.data.fill_(-10)
    rows, cols = prior().unflatten(1, (5, 5))
    steps = torch.arange(-2.0, 3.0)
    torch.testing.assert_close(rows, steps[:, None].expand(5, 5))
    torch.testing.assert_close(cols, steps[None, :].expand(5, 5))


def test_parameters_by_hand():
    layer = LocalRelation2d(100, 100, 7, share=8)
    query_key, geometry, out = 2 * (100 * 13 + 13), (2 * 13 + 13) + (13 * 13 + 13), 100 * 100
    assert sum(p.numel() for p in layer.parameters()) == query_key + geometry + out


def test_errors_quote_value_and_rule():
    with pytest.raises(ValueError, match="the output has the input's 8 channels; got out_channels=4"):
        LocalRelation2d(8, 4, projection=False)
    with pytest.raises(ValueError, match=r"kernel_size must be odd and positive.*got 4"):
        LocalRelation2d(8, kernel_size=4)
    with pytest.raises(ValueError, match="share, the channels of a weight map, must be at least 1; got 0"):
        LocalRelation2d(8, share=0)
    with pytest.raises(ValueError, match="geometry_hidden must be at least 1; got 0"):
        LocalRelation2d(8, geometry_hidden=0)
    for name, known in (
        ("similarity", "multiply, squared_difference, absolute_difference"),
        ("border", "exclude, zero"),
        ("order", "contiguous, interleaved"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be one of {known}; got 'none'"):
            LocalRelation2d(8, **{name: "none"})
