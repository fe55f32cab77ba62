"""Every format in: the net answers as the source's own does, on random weights, and every tensor is accounted for."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import sightline
from sightline.backbones.spatial import convolution
from sightline.backbones.trunk import Trunk, TrunkConfig
from sightline.layers import NonLocalBlock2d
from sightline.weights import WeightsError, load_weights
from sightline.weights.convert import convert
from sightline.weights.traits import traits_of
from tests import golden_cases
from tests.weights import nets
from tests.weights.golden_nets import google_net, san_net

TRUNK = TrunkConfig((1, 1, 1, 1), (64, 128, 256, 512), (convolution,) * 4)
IMAGES = torch.randn(2, 3, nets.SIDE, nets.SIDE, generator=torch.Generator().manual_seed(3))


def answers_as(net, source, expected, images=IMAGES, **statuses):
    """Load, compare logits, compare the counts of the report."""
    report = load_weights(net, source)
    with torch.no_grad():
        assert nets.relative(net(images), expected) < 1e-5
    counts = {status: len(report.of(status)) for status in ("resized", "dropped", "missing")}
    assert counts == {"resized": 0, "dropped": 0, "missing": 0} | statuses
    assert {entry.ours for entry in report.of("matched")} | {e.ours for e in report.of("missing")} == set(
        net.state_dict()
    )
    return report


def test_timm_vit_from_a_module_a_state_dict_and_a_file(tmp_path):
    theirs = nets.timm_vit()
    expected = theirs(IMAGES).detach()
    torch.save(theirs.state_dict(), tmp_path / "vit.pth")
    for source in (theirs, theirs.state_dict(), tmp_path / "vit.pth"):
        report = answers_as(nets.ours(), source, expected)
        assert report.format == "timm ViT"
        assert any("gelu erf (was tanh)" in note for note in report.notes)


def test_timm_traits_come_with_a_module():
    theirs = nets.timm_vit(act_layer="gelu_tanh")
    net = nets.ours(replace(nets.CONFIG, gelu="erf"))
    answers_as(net, theirs, theirs(IMAGES).detach())
    assert traits_of(net)["gelu"] == "tanh"


def test_deit_authors_file(tmp_path):
    theirs = nets.timm_distilled()
    torch.save({"model": theirs.state_dict(), "epoch": 299, "optimizer": {"lr": 1.0}}, tmp_path / "deit.pth")
    report = answers_as(nets.ours(nets.DISTILLED), tmp_path / "deit.pth", theirs(IMAGES).detach())
    assert report.format == "DeiT's authors"
    assert report.notes[-2:] == ('the tensors lay under "model"', "not read, for they are no weights: epoch, optimizer")


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("distilled", [False, True])
def test_transformers(new, distilled, tmp_path):
    theirs = nets.timm_distilled() if distilled else nets.timm_vit()
    state = nets.as_transformers(theirs.state_dict(), distilled, new)
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(nets.transformers_config(distilled)))
    net = nets.ours(nets.DISTILLED if distilled else nets.CONFIG)
    report = answers_as(net, tmp_path, theirs(IMAGES).detach())
    assert report.format == "Hugging Face ViT"


def test_transformers_eps_and_activation_are_taken_over(tmp_path):
    theirs = nets.timm_vit(act_layer="gelu_tanh")
    for module in theirs.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-2
    save_file(nets.as_transformers(theirs.state_dict()), tmp_path / "model.safetensors")
    config = nets.transformers_config(layer_norm_eps=1e-2, hidden_act="gelu_pytorch_tanh")
    (tmp_path / "config.json").write_text(json.dumps(config))
    net = nets.ours(replace(nets.CONFIG, gelu="erf"))
    answers_as(net, tmp_path, theirs(IMAGES).detach())
    assert nets.relative(nets.ours()(IMAGES), theirs(IMAGES)) > 1e-3


def test_transformers_deit_with_one_classifier(tmp_path):
    theirs = nets.timm_distilled()
    theirs.head_dist.load_state_dict(theirs.head.state_dict())
    state = nets.as_transformers(theirs.state_dict(), distilled=True)
    state = {name.replace("cls_", "") if "classifier" in name else name: t for name, t in state.items()}
    state = {name: t for name, t in state.items() if not name.startswith("distillation_classifier")}
    save_file(state, tmp_path / "model.safetensors")
    config = nets.transformers_config(True, architectures=["DeiTForImageClassification"])
    (tmp_path / "config.json").write_text(json.dumps(config))
    with torch.no_grad():
        expected = theirs.head(theirs.forward_features(IMAGES)[:, 0])
    net = nets.ours(nets.DISTILLED)
    load_weights(net, tmp_path)
    assert nets.relative(net(IMAGES), expected) < 1e-5


def test_transformers_base_model_has_a_pooler():
    theirs = nets.timm_vit()
    state = nets.as_transformers(theirs.state_dict())
    state = {name.removeprefix("vit."): t for name, t in state.items() if not name.startswith("classifier")}
    state |= {"pooler.dense.weight": torch.randn(24, 24), "pooler.dense.bias": torch.randn(24)}
    net = nets.ours(classes=3)
    report = load_weights(net, state, fresh_classifier=True)
    assert [one.theirs for one in report.of("dropped")] == [("pooler.dense.weight",), ("pooler.dense.bias",)]
    assert [one.ours for one in report.of("missing")] == ["head.weight", "head.bias"]
    torch.testing.assert_close(net.forward_features(IMAGES), theirs.forward_features(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hidden", [None, 7])
def test_torchvision_vit(hidden):
    theirs = nets.torchvision_vit(representation_size=hidden)
    net = nets.ours()
    report = answers_as(net, theirs.state_dict(), theirs(IMAGES).detach())
    assert report.format == "torchvision ViT"
    assert traits_of(net)["pre_logits"] == (hidden or 0)


def test_torchvision_vit_of_old():
    theirs = nets.torchvision_vit()
    state = theirs.state_dict()
    old = {name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): t for name, t in state.items()}
    assert old.keys() != state.keys()
    answers_as(nets.ours(), old, theirs(IMAGES).detach())


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("prefix", ["", "opt/target/"])
def test_google_npz(published, prefix, tmp_path):
    theirs = nets.timm_vit(act_layer="gelu_tanh")
    state = nets.as_google(theirs.state_dict(), published)
    np.savez(tmp_path / "vit.npz", **{prefix + name: tensor.numpy() for name, tensor in state.items()})
    net = nets.ours(replace(nets.CONFIG, gelu="erf", resize="bicubic"))
    report = answers_as(net, tmp_path / "vit.npz", theirs(IMAGES).detach())
    assert report.format == "Google's .npz"
    assert traits_of(net) == {"gelu": "tanh", "norm_eps": 1e-6, "resize": "bilinear", "pre_logits": 0}


@pytest.mark.parametrize("name", ["vit_gap_prelogits", "vit_hybrid_token", "vit_token_2x3grid"])
def test_google_golden_checkpoint(name):
    case, net = golden_cases.load(name), google_net(name)
    report = load_weights(net, golden_cases.FOLDER / f"{name}.checkpoint.npz")
    assert (
        golden_cases.difference(net(case.tensors["input.image"].permute(0, 3, 1, 2)), case.tensors["output.logits"])
        < 1e-6
    )
    assert not report.of("dropped")
    assert traits_of(net)["pre_logits"] == (case.config["representation_size"] or 0)


@pytest.mark.parametrize("kind", ["pairwise", "patchwise"])
def test_san_authors_file(kind, tmp_path):
    case, state = nets.san_authors(f"san_network_{kind}")
    torch.save({"epoch": 100, "state_dict": state}, tmp_path / "san.pth")
    net = san_net(kind)
    report = load_weights(net, tmp_path / "san.pth")
    assert report.format == "SAN's authors"
    assert not report.of("dropped") + report.of("missing")
    assert net.stem[1].num_batches_tracked == 7
    assert golden_cases.difference(net(case.tensors["input.x"]), case.tensors["output.logits"]) < 1e-6


def test_torchvision_resnet(tmp_path):
    theirs = nets.torchvision_resnet()
    images = torch.randn(2, 3, 64, 48)
    torch.save({"state_dict": {f"module.{name}": t for name, t in theirs.state_dict().items()}}, tmp_path / "r.pth.tar")
    report = answers_as(Trunk(TRUNK, nets.CLASSES).eval(), tmp_path / "r.pth.tar", theirs(images).detach(), images)
    assert report.format == "timm/torchvision ResNet"


def test_added_blocks_start_as_the_identity():
    theirs, images = nets.torchvision_resnet(), torch.randn(1, 3, 64, 64)
    config = replace(TRUNK, context=(((2, 0), NonLocalBlock2d),))
    net = Trunk(config, nets.CLASSES).eval()
    added = [name for name in net.state_dict() if ".context." in name]
    report = answers_as(net, theirs, theirs(images).detach(), images, missing=len(added))
    assert {one.ours for one in report.of("missing")} == set(added)
    assert all("identity" in one.note for one in report.of("missing"))


def test_timm_hybrid_there_and_back(tmp_path):
    theirs = nets.shaken(timm.create_model("vit_small_r26_s32_224", img_size=64, num_classes=3))
    images = torch.randn(1, 3, 64, 64)
    save_file(theirs.state_dict(), tmp_path / "hybrid.safetensors")
    convert(tmp_path / "hybrid.safetensors", tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "theirs", to="timm")
    net = sightline.from_pretrained(tmp_path / "ours")
    assert (net.meta.name, traits_of(net)["stem"]) == ("vit_s32_r26", "timm")
    assert nets.relative(net.double()(images.double()), theirs.double()(images.double())) < 1e-9
    again = timm.create_model(f"local-dir:{tmp_path / 'theirs'}", pretrained=True).eval()
    assert torch.equal(again(images), theirs.float()(images))


def test_old_files_without_counts_of_batches():
    theirs = nets.torchvision_resnet()
    state = {name: t for name, t in theirs.state_dict().items() if "num_batches" not in name}
    report = load_weights(Trunk(TRUNK, nets.CLASSES), state)
    assert all(one.ours.endswith("num_batches_tracked") for one in report.of("missing"))


def test_our_own_state_dict_keeps_what_the_net_computes(tmp_path):
    first, second = nets.shaken(nets.ours()), nets.ours()
    torch.save(first.state_dict(), tmp_path / "own.pth")
    for source in (first, first.state_dict(), tmp_path / "own.pth"):
        load_weights(second, source)
        assert torch.equal(first(IMAGES), second(IMAGES))
        assert traits_of(second) == traits_of(first)


def test_wrong_number_of_heads_is_seen(tmp_path):
    save_file(nets.as_transformers(nets.timm_vit().state_dict()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(nets.transformers_config(num_attention_heads=6)))
    with pytest.raises(WeightsError, match="has 6 attention heads, PatchTransformer 3"):
        load_weights(nets.ours(), tmp_path)
    with pytest.raises(WeightsError, match="has 3 attention heads, PatchTransformer 4"):
        load_weights(nets.ours(replace(nets.CONFIG, heads=4)), nets.as_google(nets.timm_vit().state_dict()))
