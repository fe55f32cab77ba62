"""Blocks added to nets by others: outputs equal at once, channels found, every place a module can stand."""

import copy
import pickle

import pytest
import timm
import torch
import torchvision
from torch import nn

import sightline
from sightline.backbones.san_net import SANStage
from sightline.layers import CrissCrossAttention, NonLocalBlock2d


def vgg_features() -> nn.Module:
    """Without the classifier, whose 120 million parameters would take most of the time."""
    return torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"], batch_norm=True).eval()


@pytest.mark.parametrize("block", ["nonlocal", "criss_cross"])
@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("resnet18", ["layer2.0", "layer3"]),
        ("mobilenet_v2", "features.5"),
        ("regnet_x_400mf", "trunk_output.block2"),
        ("convnext_tiny", "features.3.*"),
        ("densenet121", "features.denseblock2"),
        ("vgg11_bn", "11"),
    ],
)
def test_logits_stay_what_they_were(name, after, block):
    torch.manual_seed(0)
    net = vgg_features() if name == "vgg11_bn" else getattr(torchvision.models, name)(num_classes=10).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net(images)
        report = sightline.insert_blocks(net, block, after=after)
        assert torch.equal(net(images), expected)
    assert report.model is net
    kind = {"nonlocal": NonLocalBlock2d, "criss_cross": CrissCrossAttention}[block]
    assert report.inserted
    assert all(isinstance(net.get_submodule(place), kind) for place in report.inserted)


@pytest.mark.parametrize("name", ["resnet18", "regnetx_002", "densenet121"])
def test_nets_of_timm_and_their_features(name):
    after = {"resnet18": "layer3", "regnetx_002": "s3", "densenet121": "features_denseblock3"}[name]
    net = timm.create_model(name, features_only=True, out_indices=(2, 3)).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net(images)
        sightline.insert_blocks(net, "nonlocal", after=after)
        for one, other in zip(net(images), expected, strict=True):
            assert torch.equal(one, other)
        for gate in [one for one in net.modules() if isinstance(one, NonLocalBlock2d)]:
            nn.init.ones_(gate.norm.weight)
        assert not torch.equal(net(images)[-1], expected[-1])


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(inplace=True)), nn.Flatten()
    )


def test_where_blocks_go_and_what_they_are_called():
    net = small()
    report = sightline.insert_blocks(net, "criss_cross", after=["0", "1"], image_size=8, recurrence=1)
    assert report.inserted == {
        "0.block": "CrissCrossAttention after 0",
        "1.criss_cross_block": "CrissCrossAttention after 1",
    }
    assert net[1][2].recurrence == 1
    assert net[0].in_channels == 3  # what the block does not have is the module's
    assert "2 blocks inserted" in str(report)
    again = sightline.insert_blocks(net, "criss_cross", after="1", image_size=8)
    assert list(again.inserted) == ["1.criss_cross_block2"]


def test_a_module_inside_another():
    net = small()
    report = sightline.insert_blocks(net, "nonlocal", after=["1.0", "1"], image_size=8, inter_channels=3)
    assert sorted(report.inserted) == ["1.0.block", "1.nonlocal_block"]
    assert isinstance(net[1][0].block, NonLocalBlock2d)


def test_a_stage_of_san_inside_another_module_is_checkpointed_too():
    net = sightline.create_model("san_mini_patchwise", num_classes=2)
    report = sightline.insert_blocks(net, "criss_cross", after="stages.1", image_size=8)
    assert list(report.inserted) == ["stages.1.block"]
    net.set_grad_checkpointing()
    assert [one.grad_checkpointing for one in net.modules() if isinstance(one, SANStage)] == [True] * 3


def test_dtype_mode_copies_and_graphs():
    net = small().double().eval()
    images = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    expected = net(images)
    report = sightline.insert_blocks(net, "nonlocal", after=["0", "1"], image_size=8, inplace=False)
    assert report.model is not net
    assert len(list(net.modules())) == 6
    changed = report.model
    assert torch.equal(changed(images), expected)
    assert not any(one.training for one in changed.modules())
    nn.init.normal_(changed[1].nonlocal_block.norm.weight)
    expected = changed(images)
    assert torch.equal(copy.deepcopy(changed)(images), expected)
    assert torch.equal(pickle.loads(pickle.dumps(changed))(images), expected)
    fresh = sightline.insert_blocks(small().double().eval(), "nonlocal", after=["0", "1"], image_size=8).model
    fresh.load_state_dict(changed.state_dict())
    assert torch.equal(fresh(images), expected)
    torch.testing.assert_close(torch.export.export(changed, (images,)).module()(images), expected)
    with torch.no_grad(), sightline.capture(changed, queries=[(2, 2)]) as maps:
        changed(images)
    assert maps.layers == ("0.block", "1.nonlocal_block")


def test_modules_that_run_twice():
    shared = nn.Conv2d(4, 4, 3, padding=1)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), shared, shared)
    sightline.insert_blocks(net, "nonlocal", after="1", image_size=8)
    assert net[1] is net[2]
    assert isinstance(net[1].block, NonLocalBlock2d)


@pytest.mark.parametrize(
    ("block", "after", "options", "error", "message"),
    [
        ("non_local", "0", {}, ValueError, "'non_local'"),
        ("nonlocal", "7", {}, ValueError, "after: nothing matches '7'; there are 0, 1"),
        ("nonlocal", "2", {}, ValueError, r"2 gives no feature map \(B, C, H, W\) but shape \(1, 512\)"),
        ("nonlocal", "0", {"inter": 4}, TypeError, "no option 'inter'; it has: inter_channels"),
        ("nonlocal", "0", {"inter_channels": 0}, ValueError, "insert_blocks: 0: .*inter_channels=0"),
        ("criss_cross", "0", {"in_channels": 4}, TypeError, "taken from the net"),
    ],
)
def test_errors(block, after, options, error, message):
    net = small()
    with pytest.raises(error, match=message):
        sightline.insert_blocks(net, block, after=after, image_size=8, **options)
    assert len(list(net.modules())) == 6


def test_modules_that_do_not_run():
    net = nn.ModuleDict({"a": nn.ModuleList([nn.Conv2d(3, 3, 1)])})
    with pytest.raises(ValueError, match="could not be run"):
        sightline.insert_blocks(net, "nonlocal", after="a")

    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([nn.Conv2d(3, 3, 1)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.parts[0](x)

    with pytest.raises(ValueError, match="parts does not run as a module"):
        sightline.insert_blocks(Listed(), "nonlocal", after="parts")
