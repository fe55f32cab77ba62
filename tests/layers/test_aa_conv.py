"""AttentionAugmentedConv2d: golden cases, sizes beyond the tables, pooling, parameter counts and the contract of all layers."""

import pytest
import torch
import torch.nn.functional as F

from sightline.layers import AttentionAugmentedConv2d
from sightline.layers.aa_conv import average_pool_3x3, table_for, upsample_by_two
from tests import golden_cases
from tests.layers.contract import check_layer

GOLDEN_NAMES = {"qkv": "qkv", "conv": "conv", "attn_out": "project"}


def small(**options):
    """A layer of 6 to 10 channels, 4 of them attention."""
    settings = {"heads": 2, "size": (5, 6)} | options
    return AttentionAugmentedConv2d(6, 10, 3, key_channels=8, value_channels=4, **settings)


@pytest.mark.parametrize("name", golden_cases.names("aaconv_*"))
def test_golden(name):
    case = golden_cases.load(name)
    c = case.config
    layer = AttentionAugmentedConv2d(
        c["in_channels"],
        c["out_channels"] or c["dv"],
        c["kernel_size"] or 1,
        key_channels=c["dk"],
        value_channels=c["dv"],
        heads=c["heads"],
        relative=c["relative"],
        size=(c["height"], c["width"]),
        qkv_kernel=c["qkv_kernel"],
        bias=True,
    ).double()
    leaves = {}
    for theirs, stored in case.part("param").items():
        module, _, kind = theirs.partition(".")
        ours = {"rel_h": "relative_rows", "rel_w": "relative_cols"}.get(theirs) or f"{GOLDEN_NAMES[module]}.{kind}"
        leaves[theirs] = layer.get_parameter(ours)
        leaves[theirs].data.copy_(stored.reshape(leaves[theirs].shape))
    assert len(leaves) == len(list(layer.parameters()))
    seen = []
    layer.attend.register_forward_hook(
        lambda tap, args, options, _: seen.append(tap.weights(*args, **options)), with_kwargs=True
    )
    leaves["x"] = case.tensors["input.x"].requires_grad_()
    golden_cases.check(case, {"y": layer(leaves["x"]), "attention": seen[0]}, leaves)


OPTIONS = [{}, {"stride": 2, "pool_attention": True, "bias": True}, {"stride": 3, "relative": False, "qkv_kernel": 3}]


@pytest.mark.parametrize("options", OPTIONS)
def test_contract(options):
    check_layer(lambda: small(**options), 6, options.get("stride", 1))


def test_fully_attentional_has_no_convolution():
    layer = AttentionAugmentedConv2d(6, 8, 3, key_channels=4, value_channels=8, heads=4)
    assert layer.conv is None
    assert layer(torch.randn(1, 6, 3, 4)).shape == (1, 8, 3, 4)


def test_channels_are_the_convolution_then_the_attention():
    layer, x = small().double(), torch.randn(2, 6, 5, 7, dtype=torch.float64)
    y = layer(x)
    torch.testing.assert_close(y[:, :6], F.conv2d(x, layer.conv.weight, padding=1))
    layer.project.weight.data.zero_()
    assert layer(x)[:, 6:].abs().max() == 0


def test_tables_are_made_for_the_attention_grid_of_the_given_input():
    assert small(size=(9, 12)).relative_rows.shape == (17, 4)
    layer = small(size=(9, 12), stride=2, pool_attention=True)
    assert layer.relative_rows.shape == (2 * 3 - 1, 4)  # 9 -> 5 pooled -> 3 strided
    assert layer.relative_cols.shape == (2 * 3 - 1, 4)
    grids = []
    layer.attend.register_forward_hook(lambda _tap, _args, options, _y: grids.append(options["grid"]), with_kwargs=True)
    layer(torch.randn(1, 6, 9, 12))
    assert grids == [(3, 3)]


def test_an_offset_keeps_its_embedding_at_every_size():
    table = torch.arange(-3.0, 4.0)[:, None]  # the embedding of an offset is the offset; made for a size of 4
    assert table_for(table, 4) is table
    assert table_for(table, 2)[:, 0].tolist() == [-1, 0, 1]
    assert table_for(table, 1)[:, 0].tolist() == [0]
    assert table_for(table, 6)[:, 0].tolist() == [-3, -3, -3, -2, -1, 0, 1, 2, 3, 3, 3]


def test_smaller_map_equals_a_layer_made_for_it():
    large, x = small(size=(9, 11)).double(), torch.randn(1, 6, 4, 5, dtype=torch.float64)
    exact = small(size=(4, 5)).double()
    state = large.state_dict()
    state["relative_rows"], state["relative_cols"] = state["relative_rows"][5:-5], state["relative_cols"][6:-6]
    exact.load_state_dict(state)
    torch.testing.assert_close(large(x), exact(x))


def test_attention_moves_with_the_image():
    """Translation equivariance: away from zero padding, a shifted input gives shifted attention (1 x 1 qkv, same content)."""
    layer = small(relative=True, size=(6, 6)).double()
    picture = torch.zeros(1, 6, 6, 6, dtype=torch.float64)
    picture[..., 1:3, 1:4] = torch.randn(6, 2, 3, dtype=torch.float64)
    moved = picture.roll((2, 1), (2, 3))
    weights = []
    layer.attend.register_forward_hook(
        lambda tap, args, options, _: weights.append(tap.weights(*args, **options)[0].unflatten(-1, (6, 6))),
        with_kwargs=True,
    )
    layer(picture), layer(moved)
    here, there = weights[0].unflatten(1, (6, 6))[:, 1, 2, 1:3, 1:4], weights[1].unflatten(1, (6, 6))[:, 3, 3, 3:5, 2:5]
    torch.testing.assert_close(here / here.sum((-1, -2), True), there / there.sum((-1, -2), True))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 2), (8, 5)])
def test_pooled_pixel_returns_to_the_centre_of_its_window(size):
    height, width = size
    ramp = (
        torch.arange(height).double()[:, None] * 10 + torch.arange(width).double()
    )  # linear: pooling and bilinear keep it
    pooled = average_pool_3x3(ramp[None, None])
    assert pooled.shape[2:] == (-(-height // 2), -(-width // 2))
    for row in range(pooled.shape[2]):
        for col in range(pooled.shape[3]):
            window = ramp[max(2 * row - 1, 0) : 2 * row + 2, max(2 * col - 1, 0) : 2 * col + 2]
            torch.testing.assert_close(pooled[0, 0, row, col], window.mean())
    back = upsample_by_two(pooled, height, width)
    assert back.shape[2:] == size
    torch.testing.assert_close(back[:, :, ::2, ::2], pooled)
    torch.testing.assert_close(
        back[:, :, 1:-1:2, ::2], (pooled[:, :, :-1] + pooled[:, :, 1:])[:, :, : (height - 1) // 2] / 2
    )


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_parameter_count_is_the_papers(kernel_size):
    """Weights: k*k*C*(F - dv) + C*(2dk + dv) + dv*dv, tables: (2(H + W) - 2) * dk/N; section 3.2 of the paper."""
    layer = AttentionAugmentedConv2d(64, 128, kernel_size, key_channels=40, value_channels=32, heads=8, size=(14, 9))
    expected = kernel_size**2 * 64 * (128 - 32) + 64 * (2 * 40 + 32) + 32 * 32 + (2 * (14 + 9) - 2) * 5
    assert sum(p.numel() for p in layer.parameters()) == expected


ERRORS = {
    "heads must divide key_channels and value_channels; got heads=8, key_channels=20, value_channels=8": {
        "key_channels": 20
    },
    "value_channels in 1..out_channels; got key_channels=8, value_channels=24, out_channels=16": {"value_channels": 24},
    "kernel_size must be odd and positive, so that a window has a centre; got 4": {"kernel_size": 4},
    "qkv_kernel must be odd and positive, so that a window has a centre; got 2": {"qkv_kernel": 2},
    r"must be positive; got stride=0, size=\(32, 32\)": {"stride": 0},
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_quote_value_and_rule(message):
    options = {"kernel_size": 3, "key_channels": 8, "value_channels": 8} | ERRORS[message]
    with pytest.raises(ValueError, match=message):
        AttentionAugmentedConv2d(8, 16, **options)
