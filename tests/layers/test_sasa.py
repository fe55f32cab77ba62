"""StandAloneSelfAttention2d: golden cases and the contract of all layers."""

import pytest

from sightline.layers import StandAloneSelfAttention2d
from tests import golden_cases
from tests.layers.contract import check_layer


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


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"stride": 2, "downsample": "stride", "relative": "shared"}])
def test_contract(options):
    check_layer(lambda: StandAloneSelfAttention2d(6, 8, 3, heads=2, **options), 6, options.get("stride", 1))


def test_errors_quote_value_and_rule():
    with pytest.raises(ValueError, match="heads must divide out_channels; got heads=3, out_channels=8"):
        StandAloneSelfAttention2d(8, 8, heads=3)
