"""Convolutions of nets by others turned into attention: sizes on every map, what is kept, what is refused, and why."""

import copy
import re

import pytest
import timm
import torch
import torchvision
from torch import nn

import sightline
from sightline.backbones.dropins import ALIASES, OPERATORS
from sightline.layers import (
    AttentionAugmentedConv2d,
    LocalRelation2d,
    PairwiseSelfAttention2d,
    PatchwiseSelfAttention2d,
    StandAloneSelfAttention2d,
)

LAYERS = {
    "sasa": StandAloneSelfAttention2d,
    "local_relation": LocalRelation2d,
    "aa": AttentionAugmentedConv2d,
    "san_pairwise": PairwiseSelfAttention2d,
    "san_patchwise": PatchwiseSelfAttention2d,
}


def small() -> nn.Sequential:
    """A net that has one of everything."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 12, 3, 2, padding=1, bias=False),
        nn.Conv2d(12, 12, 5, padding=4, dilation=2),
        nn.Conv2d(12, 12, 3, padding=1, groups=12),
        nn.Conv2d(12, 12, 3, padding=1, groups=3),
        nn.Conv2d(12, 14, 1),
        nn.Conv2d(14, 14, 2, padding="same"),
        nn.Conv2d(14, 14, 3),
        nn.Conv2d(14, 14, (1, 3), padding=(0, 1)),
        nn.Conv2d(14, 14, 3, (1, 2), padding=1),
        nn.Conv2d(14, 14, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose2d(14, 14, 3, padding=1),
        nn.Conv2d(14, 7, 3, padding="same"),
    )


def on_meta(name: str) -> nn.Module:
    if name.startswith("regnet"):  # computes its widths with tensors
        return getattr(torchvision.models, name)(num_classes=10).to("meta")
    with torch.device("meta"):
        return getattr(torchvision.models, name)(num_classes=10)


def test_every_operator_is_one_of_the_papers():
    assert {name: one.layer for name, one in OPERATORS.items()} == LAYERS
    assert ALIASES == {"lrnet": "local_relation"}


def test_each_reason_is_told():
    report = sightline.replace_convs(small(), "sasa", image_size=16)
    assert list(report.replaced) == ["1", "2", "12"]
    words = [
        "stem",
        "depthwise",
        "grouped",
        "1 x 1",
        "even",
        "padding 0 where 1",
        "square",
        "stride",
        "circular",
        "transposed",
    ]
    assert list(report.refused) == ["0", "3", "4", "5", "6", "7", "8", "9", "10", "11"]
    for (name, reason), word in zip(report.refused.items(), words, strict=True):
        assert word in reason, name
    assert "3 convolutions replaced, 10 left" in str(report)
    assert "transposed: 11" in str(report)


@pytest.mark.parametrize("operator", [*LAYERS, "lrnet"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_output_sizes_are_the_convolutions(operator, stride):
    before = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 12, 3, stride, padding=1))
    report = sightline.replace_convs(before, operator, inplace=False, stem=True, image_size=9)
    assert list(report.replaced) == ["1"]
    assert isinstance(report.model[1], LAYERS[ALIASES.get(operator, operator)])
    report.model.eval()
    for size in [(1, 1), (1, 7), (2, 3), (9, 9), (11, 4), (13, 17)]:
        images = torch.randn(1, 3, *size)
        assert report.model(images).shape == before(images).shape, size


@pytest.mark.parametrize("operator", LAYERS)
def test_what_the_convolution_had_is_kept(operator):
    net = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, bias=True), nn.Conv2d(8, 8, 3, padding=1, bias=False)).double()
    net.eval()
    net[1].weight.requires_grad_(False)
    report = sightline.replace_convs(net, operator, stem=True, image_size=8)
    assert report.model is net
    assert len(report.replaced) == 2
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert not any(part.training for part in net.modules())
    assert all(p.requires_grad for p in net[0].parameters())
    assert not any(p.requires_grad for p in net[1].parameters())
    if not operator.startswith("san"):  # SAN's projections have biases always
        ends = {"sasa": "value", "local_relation": "out", "aa": "project"}[operator]
        assert getattr(net[0], ends).bias is not None
        assert getattr(net[1], ends).bias is None
    assert net.train()[0].training


def test_stride_dilation_kernel_and_heads():
    net = small()
    sightline.replace_convs(net, "sasa", where=["1", "2"], image_size=16, kernel_size="same", heads=8)
    assert (net[1].attend.options["kernel_size"], net[1].pool_stride, net[1].attend.options["heads"]) == (3, 2, 6)
    assert (net[2].attend.options["kernel_size"], net[2].attend.options["dilation"]) == (5, 2)
    other = small()
    report = sightline.replace_convs(other, "aa", where="2", image_size=16)
    assert "dilation 2" in report.refused["2"]


def test_augmented_tables_have_the_size_of_the_map():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, 2, padding=1), nn.Conv2d(16, 16, 3, padding=1)
    )
    sightline.replace_convs(net, "aa", where="2", image_size=(20, 12), heads=4, least_key_depth=4)
    assert tuple(net[2].relative_rows.shape) == (2 * 10 - 1, 4)
    assert tuple(net[2].relative_cols.shape) == (2 * 6 - 1, 4)


class TwoInputs(nn.Module):
    """A net that no single image runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, image: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(image) * scale)


def test_a_net_of_two_inputs_needs_an_example_for_sizes_alone():
    assert list(sightline.replace_convs(TwoInputs(), "sasa").replaced) == ["second"]
    refused = sightline.replace_convs(TwoInputs(), "aa").refused["second"]
    assert "TypeError" in refused
    assert "example=" in refused
    example = (torch.randn(1, 3, 9, 7), torch.ones(()))
    report = sightline.replace_convs(TwoInputs(), "aa", example=example)
    assert tuple(report.model.second.relative_rows.shape) == (17, 20)
    assert list(sightline.replace_convs(TwoInputs(), "aa", where="second", size=(5, 5)).replaced) == ["second"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("layer3", {"layer3"}),
        (["layer3", "layer4"], {"layer3", "layer4"}),
        ("layer[34]*", {"layer3", "layer4"}),
        (r"layer[34]\.\d\.conv\d", {"layer3", "layer4"}),
        (re.compile("^layer2"), {"layer2"}),
        (lambda name, module: module.out_channels == 512, {"layer4"}),
    ],
)
def test_where(where, expected):
    report = sightline.replace_convs(on_meta("resnet18"), "lrnet", where=where)
    assert {name.split(".")[0] for name in report.replaced} == expected
    assert len(report.replaced) == 4 * len(expected)


@pytest.mark.parametrize(
    ("name", "replaced", "refused"),
    [
        ("resnet18", 16, {"conv1": "stem", "layer2.0.downsample.0": "1 x 1"}),
        ("resnet50", 16, {"conv1": "stem", "layer4.2.conv3": "1 x 1"}),
        ("mobilenet_v2", 0, {"features.0.0": "stem", "features.5.conv.1.0": "depthwise"}),
        ("regnet_x_400mf", 0, {"stem.0": "stem", "trunk_output.block2.block2-0.f.b.0": "grouped"}),
        ("convnext_tiny", 0, {"features.0.0": "even", "features.3.1.block.0": "depthwise"}),
        ("densenet121", 58, {"features.conv0": "stem", "features.transition1.conv": "1 x 1"}),
        ("vgg11", 6, {"features.0": "stem", "features.3": "stem"}),
    ],
)
def test_nets_of_torchvision(name, replaced, refused):
    net = on_meta(name)
    report = sightline.replace_convs(net, "sasa")
    assert len(report.replaced) == replaced
    for conv, word in refused.items():
        assert word in report.refused[conv]
    assert sum(isinstance(one, StandAloneSelfAttention2d) for one in net.modules()) == replaced
    assert net.eval()(torch.empty(2, 3, 96, 64, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("name", ["resnet10t", "tf_efficientnetv2_b0", "resnetv2_18"])
def test_nets_of_timm_and_their_features(name):
    with torch.device("meta"):
        net = timm.create_model(name, features_only=True, out_indices=(1, 2, 3))
    images = torch.empty(1, 3, 96, 64, device="meta")
    before = [tuple(one.shape) for one in net(images)]
    report = sightline.replace_convs(net, "sasa")
    assert report.replaced
    assert [tuple(one.shape) for one in net(images)] == before


def test_the_stem_when_asked_for():
    net = on_meta("resnet18")
    report = sightline.replace_convs(net, "sasa", where="conv1", stem=True, heads=8)
    assert list(report.replaced) == ["conv1"]
    assert net.eval()(torch.empty(1, 3, 32, 32, device="meta")).shape == (1, 10)


def test_copies_leave_the_model_alone_and_nothing_is_half_done():
    net = small()
    before = copy.deepcopy(net)
    report = sightline.replace_convs(net, "sasa", inplace=False, image_size=16)
    assert report.model is not net
    assert all(type(a) is type(b) for a, b in zip(net.modules(), before.modules(), strict=True))
    with pytest.raises(ValueError, match=r"replace_convs: 1: .*odd"):
        sightline.replace_convs(net, "sasa", kernel_size=4, image_size=16)
    assert all(type(a) is type(b) for a, b in zip(net.modules(), before.modules(), strict=True))


def test_a_convolution_used_twice_stays_one():
    shared = nn.Conv2d(4, 4, 3, padding=1)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), shared, nn.ReLU(), shared)
    report = sightline.replace_convs(net, "sasa", stem=True, image_size=8)
    assert list(report.replaced) == ["1", "3"]
    assert net[1] is net[3]
    tied = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1))
    tied[1].weight = tied[0].weight
    assert "another module uses its weight" in sightline.replace_convs(tied, "sasa", stem=True).refused["1"]
    tied[0].register_forward_hook(lambda *_: None)
    assert "hooks" in sightline.replace_convs(tied, "sasa", stem=True).refused["0"]


def test_our_own_layers_are_left_alone():
    net = sightline.create_model("aa_resnet_mini", num_classes=10)
    report = sightline.replace_convs(net, "lrnet", image_size=32)
    assert report.refused["layer2.0.conv2.conv"] == "part of an attention layer"
    assert list(report.replaced) == ["layer1.0.conv2"]
    assert net.eval()(torch.randn(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize("operator", LAYERS)
def test_works_with_everything_a_net_works_with(operator):
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
    options = {"least_key_depth": 2} if operator == "aa" else {"kernel_size": 3}
    net = sightline.replace_convs(net, operator, where="2", image_size=12, **options).model.eval()
    images = torch.randn(2, 3, 12, 12)
    expected = net(images)
    with torch.no_grad(), sightline.capture(net, queries=[(4, 4)]) as maps:
        torch.testing.assert_close(net(images), expected)
    assert maps.layers == ("2",)
    program = torch.export.export(net, (images,))
    torch.testing.assert_close(program.module()(images), expected)
    again = copy.deepcopy(net)
    for parameter in again.parameters():
        nn.init.zeros_(parameter)
    again.load_state_dict(net.state_dict())
    torch.testing.assert_close(again(images), expected)
    net.train()(images).square().mean().backward()
    assert all(torch.isfinite(one.grad).all() for one in net.parameters() if one.grad is not None)
    assert net[2].attend is not None


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("sas",), {}, ValueError, "'sas'"),
        (("sasa", "layer9"), {}, ValueError, "where: nothing matches 'layer9'"),
        (("sasa", ["0", "layer9"]), {}, ValueError, "layer9"),
        (("sasa", lambda name, module: False), {}, ValueError, "none of 0, 1"),
        (("sasa", 3), {}, TypeError, "got 3"),
        (("sasa", []), {}, ValueError, "empty"),
        (("sasa",), {"head": 8}, TypeError, "no option 'head'; it has: kernel_size, heads"),
        (("sasa",), {"stride": 2}, TypeError, "stride is not an option of 'sasa', it is taken from the net"),
        (("san_pairwise",), {"relation": "sum"}, ValueError, "replace_convs: 1: .*got 'sum'"),
        (("sasa",), {"border": "reflect"}, ValueError, "replace_convs: 1: .*got 'reflect'"),
        (("sasa",), {"heads": 0}, ValueError, "replace_convs: 1: heads and share must be at least 1; got 0"),
        (("san_patchwise",), {"share": 0}, ValueError, "replace_convs: 1: heads and share must be at least 1; got 0"),
        (("lrnet",), {"similarity": "sum"}, ValueError, "replace_convs: 1: .*got 'sum'"),
    ],
)
def test_errors(arguments, options, error, message):
    with pytest.raises(error, match=message):
        sightline.replace_convs(small(), *arguments, image_size=16, **options)


def test_nets_without_convolutions():
    with pytest.raises(ValueError, match="Linear has no convolution"):
        sightline.replace_convs(nn.Linear(3, 3), "sasa")
    with pytest.raises(ValueError, match="is itself a convolution"):
        sightline.replace_convs(nn.Conv2d(3, 3, 3, padding=1), "sasa")
