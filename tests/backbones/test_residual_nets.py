"""The papers' residual nets: timm's where timm has them, laid out as their papers say, started as their sources say."""

import copy
from dataclasses import replace

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import sightline
from sightline.backbones import NETS, spatial
from sightline.backbones.residual import Place
from sightline.backbones.stem import ATTENTION_STEM, CONV_STEM, DEEP_STEM, RELATION_STEM
from sightline.backbones.trunk import Trunk
from sightline.backbones.wide_nets import PreActivationBlock


def shaken(model: nn.Module) -> nn.Module:
    """The model with every parameter and statistic at random, so that nothing hides behind a zero or a one."""
    torch.manual_seed(3)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            if name.endswith(("running_var", "bn1.weight", "bn2.weight", "bn3.weight")):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim < 2:
                tensor.normal_(std=0.1)
    return model


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("conv_resnet50", "resnet50"),
        ("conv_resnet34", "resnet34"),
        ("conv_resnet26_lrnet", "resnet26"),
        ("se_resnet50", "seresnet50"),
        ("se_resnet34", "seresnet34"),
    ],
)
def test_timms_weights_fit_and_give_timms_logits(ours, theirs):
    source = shaken(timm.create_model(theirs, num_classes=7)).eval().double()
    net = sightline.create_model(ours, num_classes=7).eval().double()
    net.load_state_dict(source.state_dict())  # every name, both ways
    images = torch.randn(2, 3, 45, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(images), source(images), atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("name", ["nonlocal_resnet50", "nonlocal_resnet50_10"])
def test_nonlocal_blocks_start_as_the_identity(name):
    resnet = shaken(sightline.create_model("conv_resnet50", num_classes=5)).eval()
    net = sightline.create_model(name, num_classes=5).eval()
    answer = net.load_state_dict(resnet.state_dict(), strict=False)
    assert answer.unexpected_keys == []
    assert all(".context." in key for key in answer.missing_keys)
    images = torch.randn(1, 3, 64, 33)
    with torch.no_grad():
        assert torch.equal(net(images), resnet(images))


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("nonlocal_resnet50_1", {"layer3.4"}),
        ("nonlocal_resnet50", {"layer2.1", "layer2.3", "layer3.1", "layer3.3", "layer3.5"}),
        ("nonlocal_resnet101_1", {"layer3.21"}),
        ("nonlocal_resnet101", {"layer2.1", "layer2.3", "layer3.6", "layer3.13", "layer3.20"}),
        ("nonlocal_resnet101_10", {f"layer2.{i}" for i in range(4)} | {f"layer3.{i}" for i in range(2, 23, 4)}),
    ],
)
def test_places_of_nonlocal_blocks(name, places):
    with torch.device("meta"):
        net = sightline.create_model(name)
    assert {key.removesuffix(".context.query") for key, _ in net.named_modules() if key.endswith("query")} == places


def test_ccnet_keeps_an_eighth_of_the_resolution():
    with torch.device("meta"):
        net = sightline.create_model("ccnet_resnet50", num_classes=6).eval()
        pyramid = sightline.create_model("ccnet_resnet50", features_only=True).eval()
        images = torch.empty(1, 3, 97, 72)
        assert net.forward_features(images).shape == (1, 512, 13, 9)
        assert net(images).shape == (1, 6)
        shapes = [tuple(one.shape[1:]) for one in pyramid(images)]
    assert shapes == [(128, 49, 36), (256, 25, 18), (512, 13, 9), (1024, 13, 9), (2048, 13, 9), (512, 13, 9)]
    dilations = [{block.conv2.dilation[0] for block in getattr(net, stage)} for stage in net.stages]
    assert dilations == [{1}, {1}, {2}, {4}]


@pytest.mark.parametrize(
    ("stem", "size"),
    [(CONV_STEM, (10, 6)), (DEEP_STEM, (10, 6)), (ATTENTION_STEM, (37, 23)), (RELATION_STEM, (19, 12))],
)
def test_stems_round_up(stem, size):
    config = replace(NETS["conv_resnet26"].config, stem=stem, stem_width=64)
    net = Trunk(config, 3).eval()
    images = torch.randn(1, 3, 37, 23)
    first = net.act1(net.bn1(net.conv1(images)))
    assert first.shape[1] == 64
    assert net.feature_info[0]["reduction"] == stem.stride
    assert tuple(first.shape[2:]) == tuple(-(-side // stem.stride) for side in (37, 23))
    assert tuple(net.maxpool(first).shape[2:]) == (10, 6) == tuple(-(-side // stem.reduction) for side in (37, 23))
    assert net(images).shape == (1, 3)
    if stem is RELATION_STEM:
        assert tuple(first.shape[2:]) == size


def test_augmented_tables_are_made_for_the_grids_of_the_stages():
    with torch.device("meta"):
        net = sightline.create_model("aa_resnet50", img_size=(64, 96))
    sizes = {}
    for key, module in net.named_modules():
        if getattr(module, "relative_rows", None) is not None:
            sizes.setdefault(key[:6], set()).add((module.relative_rows.shape[0], module.relative_cols.shape[0]))
    # 64 x 96 pixels: stage 2 at 8 x 12, pooled to 4 x 6; stage 3 at 4 x 6; stage 4 at 2 x 3
    assert sizes == {"layer2": {(7, 11)}, "layer3": {(7, 11)}, "layer4": {(3, 5)}}
    shared = {module.project.in_channels for _, module in net.layer4.named_modules() if hasattr(module, "qkv")}
    assert shared == {48}  # 0.1 * 512 = 51, down to a multiple of 8


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("sasa_resnet50", "aaaa"),
        ("sasa_resnet50_conv12_attn34", "ccaa"),
        ("sasa_resnet50_attn123_conv4", "aaac"),
        ("sasa_resnet50_attn1_conv234", "accc"),
    ],
)
def test_mixtures_attend_where_their_names_say(name, operators):
    with torch.device("meta"):
        net = sightline.create_model(name)
    kinds = ["".join({"c" if isinstance(b.conv2, nn.Conv2d) else "a" for b in getattr(net, s)}) for s in net.stages]
    assert "".join(kinds) == operators


@pytest.mark.parametrize(("stride", "added", "size"), [(1, 4, (5, 7)), (2, 3, (5, 7)), (2, 0, (4, 4)), (1, 0, (3, 1))])
def test_wide_shortcut_by_hand(stride, added, size):
    block = PreActivationBlock(Place(4, 0, 4 + added, stride, size, spatial.convolution)).eval()
    nn.init.zeros_(block.conv2.weight)
    shaken(block.bn1)
    x = torch.randn(2, 4, *size)
    y = F.relu(block.bn1(x)) if stride > 1 or added else x
    expected = torch.zeros(2, 4 + added, -(-size[0] // stride), -(-size[1] // stride))
    for row in range(expected.shape[2]):
        for col in range(expected.shape[3]):
            patch = y[:, :, row * stride : (row + 1) * stride, col * stride : (col + 1) * stride]
            expected[:, added // 2 : added // 2 + 4, row, col] = patch.mean(dim=(2, 3))
    torch.testing.assert_close(block(x), expected)


def spread(parameter: torch.Tensor) -> tuple[float, float]:
    return parameter.mean().item(), parameter.std().item()


def assert_normal(parameter: torch.Tensor, std: float) -> None:
    """Mean and standard deviation within five standard errors, and no heavier a tail than a normal's."""
    n = parameter.numel()
    mean, found = spread(parameter.detach())
    assert abs(mean) < 5 * std / n**0.5
    assert abs(found - std) < 5 * std / (2 * n) ** 0.5
    kurtosis = ((parameter.detach() / std) ** 4).mean().item()
    assert abs(kurtosis - 3) < 5 * (96 / n) ** 0.5  # a uniform's is 1.8


def test_convolutions_start_he_normal_and_blocks_as_their_shortcuts():
    torch.manual_seed(0)
    net = sightline.create_model("conv_resnet26")
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            assert_normal(module.weight, (2 / (module.out_channels * module.kernel_size[0] ** 2)) ** 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.unique().tolist() == [0.0 if name.endswith("bn3") else 1.0], name
            assert not module.bias.any()


def test_nonlocal_starts_as_its_source():
    torch.manual_seed(0)
    net = sightline.create_model("nonlocal_resnet50_1")
    block = net.layer3[4].context
    assert (block.subsample, block.pool, block.attend.options["scale"]) == (True, "before", 512**-0.5)
    for part in (block.query, block.key, block.value, block.out):
        assert_normal(part.weight, 0.01)
        assert not part.bias.any()
    assert not block.norm.weight.any()
    assert not block.norm.bias.any()


def test_attention_starts_as_stated():
    torch.manual_seed(0)
    with torch.device("meta"):
        ccnet = sightline.create_model("ccnet_resnet50").neck
    assert ccnet.attention.gamma.shape == (1,)
    small = sightline.create_model("ccnet_resnet_mini")
    assert [p.item() for name, p in small.named_parameters() if name.endswith("gamma")] == [0.0]
    config = replace(NETS["sasa_resnet50"].config, layers=(1, 1, 1, 1))
    for block in (getattr(Trunk(config, 2), f"layer{stage}")[0] for stage in (2, 3, 4)):
        depth = block.conv2.query.out_channels // 8
        assert_normal(torch.cat([block.conv2.relative_rows, block.conv2.relative_cols], dim=1), depth**-0.5)
    config = replace(NETS["aa_resnet50"].config, layers=(1, 1, 1, 1))
    attention = Trunk(config, 2).layer3[0].conv2
    assert attention.relative_rows.shape == (2 * 14 - 1, 20)
    assert_normal(torch.cat([attention.relative_rows, attention.relative_cols]), 20**-0.5)


def test_wide_nets_start_he_normal_and_nothing_at_zero():
    torch.manual_seed(0)
    net = sightline.create_model("conv_wide_resnet28_10", num_classes=2)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            assert_normal(module.weight, (2 / (module.out_channels * 9)) ** 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all()


def test_checkpointing_takes_synchronised_norms():
    net = nn.SyncBatchNorm.convert_sync_batchnorm(Trunk(NETS["resnet_mini"].config, 3, img_size=8)).train()
    net.set_grad_checkpointing()
    net(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert {int(one.num_batches_tracked) for one in net.modules() if isinstance(one, nn.SyncBatchNorm)} == {1}


def test_checkpointing_and_stochastic_depth_reach_every_kind_of_block():
    config = replace(NETS["conv_wide_resnet28_10"].config, layers=(2, 1, 1), widths=(8, 8, 16))
    net = Trunk(config, 3, img_size=9, drop_path_rate=0.4)
    assert [type(b.drop_path).__name__ for b in net.layer1] == ["Identity", "DropPath"]
    assert net.layer3[0].drop_path.drop_prob == pytest.approx(0.4)
    net = Trunk(config, 3, img_size=9).double().train()
    other = copy.deepcopy(net)
    other.set_grad_checkpointing(True)
    images = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    for one in (net, other):
        one(images).square().sum().backward()
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
