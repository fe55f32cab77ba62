"""StandAloneSelfAttention2d: golden cases and the contract of all layers."""

import pytest
import torch

from sightline.layers import StandAloneSelfAttention2d
from tests import golden_cases
from tests.layers.contract import check_dtypes, check_layer, check_sizes


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("name", golden_cases.names("sasa_k*"))
def test_golden(name, backend):
    case = golden_cases.load(name)
    c = case.config
    layer = StandAloneSelfAttention2d(
        c["in_channels"],
        c["out_channels"],
        c["kernel_size"],
        heads=c["heads"],
        relative=c["relative"],
        border=c["border"],
        projection_groups=c["projection_groups"],
        backend=backend,
    ).double()
    named = {"query.weight": "query.weight", "key.weight": "key.weight", "value.weight": "value.weight"}
    if c["relative"] != "none":
        named |= {"rel_row": "relative_rows", "rel_col": "relative_cols"}
    for theirs, ours in named.items():
        parameter = layer.get_parameter(ours)
        parameter.data.copy_(case.tensors[f"param.{theirs}"].reshape(parameter.shape))
    x = case.tensors["input.x"].requires_grad_()
    leaves = {"x": x} | {theirs: layer.get_parameter(ours) for theirs, ours in named.items()}
    golden_cases.check(case, {"y": layer(x)}, leaves)


def test_contract():
    check_layer(lambda: StandAloneSelfAttention2d(6, 8, 3, 2, heads=2), 6, stride=2)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "downsample": "stride", "relative": "shared"}])
def test_contract_of_the_variants(options):
    check_sizes(lambda: StandAloneSelfAttention2d(6, 8, 3, heads=2, **options), 6, options.get("stride", 1))
    check_dtypes(lambda: StandAloneSelfAttention2d(6, 8, 3, heads=2, **options), 6)


def test_errors_quote_value_and_rule():
    with pytest.raises(ValueError, match="heads must divide out_channels; got heads=3, out_channels=8"):
        StandAloneSelfAttention2d(8, 8, heads=3)
    with pytest.raises(ValueError, match=r"kernel_size must be odd and positive.*got 4"):
        StandAloneSelfAttention2d(8, 8, kernel_size=4)
    with pytest.raises(ValueError, match="relative must be one of per_head, shared, none; got 'both'"):
        StandAloneSelfAttention2d(8, 8, relative="both")
    with pytest.raises(ValueError, match="downsample must be 'pool' or 'stride'; got 'max'"):
        StandAloneSelfAttention2d(8, 8, downsample="max")
    with pytest.raises(ValueError, match="heads must divide out_channels; got heads=0, out_channels=8"):
        StandAloneSelfAttention2d(8, 8, heads=0)
    with pytest.raises(ValueError, match="border must be one of exclude, zero; got 'reflect'"):
        StandAloneSelfAttention2d(8, 8, border="reflect")


@pytest.mark.parametrize("stride", [2, 3])
def test_pooling_averages_the_pixels_an_incomplete_block_has(stride):
    torch.manual_seed(0)
    full = StandAloneSelfAttention2d(4, kernel_size=3, heads=2).double()
    pooled = StandAloneSelfAttention2d(4, kernel_size=3, heads=2, stride=stride).double()
    pooled.load_state_dict(full.state_dict())
    x = torch.randn(1, 4, 5, 7, dtype=torch.float64)
    y, got = full(x), pooled(x)
    for row in range(got.shape[2]):
        for col in range(got.shape[3]):
            block = y[:, :, row * stride : (row + 1) * stride, col * stride : (col + 1) * stride]
            torch.testing.assert_close(got[:, :, row, col], block.mean((2, 3)))


def test_strided_queries_are_those_of_the_full_map():
    torch.manual_seed(0)
    full = StandAloneSelfAttention2d(4, kernel_size=3, heads=2).double()
    strided = StandAloneSelfAttention2d(4, kernel_size=3, heads=2, stride=2, downsample="stride").double()
    strided.load_state_dict(full.state_dict())
    x = torch.randn(1, 4, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(strided(x), full(x)[:, :, ::2, ::2])
