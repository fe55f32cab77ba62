"""Grids, patches, classifiers of another size, and every kind of mismatch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torchvision.models.vision_transformer import interpolate_embeddings

import sightline
from sightline.backbones.trunk import Trunk
from sightline.weights import WeightsError, load_weights
from sightline.weights.grid import grid_of
from tests import golden_cases
from tests.weights import nets
from tests.weights.test_formats import TRUNK


def positions(**options) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Position embeddings after loading into a net for other images, and the source's state."""
    theirs = nets.timm_vit()
    net = nets.ours(**options)
    report = load_weights(net, theirs)
    assert [one.ours for one in report.of("resized")] == ["pos_embed"]
    return net.pos_embed.detach(), theirs.state_dict()


@pytest.mark.parametrize("img_size", [56, (24, 40), (16, 72)])
def test_timm_positions_as_timm_does(img_size):
    got, state = positions(img_size=img_size)
    rows, cols = (img_size, img_size) if isinstance(img_size, int) else img_size
    expected = resample_abs_pos_embed(state["pos_embed"], [rows // 8, cols // 8], verbose=False)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    assert torch.equal(got[:, 0], state["pos_embed"][:, 0])


def test_torchvision_positions_as_torchvision_does():
    theirs = nets.torchvision_vit()
    expected = interpolate_embeddings(48, 8, dict(theirs.state_dict()))["encoder.pos_embedding"]
    net = nets.ours(img_size=48)
    load_weights(net, theirs)
    torch.testing.assert_close(net.pos_embed.detach(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", golden_cases.names("*_posembed_*"))
def test_golden_positions_through_a_file(name, tmp_path):
    case = golden_cases.load(name)
    c = case.config
    google, stored = "hidden" in c, "pos_embedding" if "hidden" in c else "pos_embed"
    prefix = c.get("extra_tokens", int(c.get("class_token", False)))
    config = replace(
        nets.CONFIG, dim=c.get("hidden") or c["embed_dim"], heads=1, class_token=prefix > 0, distilled=prefix == 2
    )
    first = nets.ours(config, img_size=8 * c["old_grid"]).double()
    first.pos_embed.data = case.tensors[f"input.{stored}"]
    state = {key: tensor.clone() for key, tensor in first.state_dict().items()}  # without our marks, as a foreign file
    if google:
        np.savez(tmp_path / "vit", **{key: t.numpy() for key, t in nets.as_google(state, heads_count=1).items()})
    else:
        torch.save({"model": state}, tmp_path / "deit.pth")
    net = nets.ours(config, img_size=8 * c["new_grid"]).double()
    report = load_weights(net, tmp_path / ("vit.npz" if google else "deit.pth"))
    assert golden_cases.difference(net.pos_embed, case.tensors[f"output.{stored}"]) < 1e-6
    assert report.of("resized")[0].note.endswith("bilinear" if google else "bicubic")


@pytest.mark.parametrize("patch", [4, 16])
def test_patches_of_another_size_as_timm_does(patch):
    theirs = nets.timm_vit()
    net = nets.ours(replace(nets.CONFIG, patch_size=patch))
    report = load_weights(net, theirs)
    assert {one.ours: one.note for one in report.of("resized")} == {
        "patch_embed.proj.weight": f"patches 8 x 8 to {patch} x {patch}",
        "pos_embed": f"grid 4 x 4 to {32 // patch} x {32 // patch}, bicubic_antialias",
    }
    expected = resample_patch_embed(theirs.patch_embed.proj.weight.data, [patch, patch])
    torch.testing.assert_close(net.patch_embed.proj.weight.data, expected, rtol=1e-3, atol=1e-4)


def test_a_square_grid_is_told_from_a_flat_one_of_the_same_count():
    theirs = nets.timm_vit()
    net = nets.ours(img_size=(16, 64))
    assert net.pos_embed.shape == theirs.pos_embed.shape
    report = load_weights(net, theirs.state_dict())
    assert report.of("resized")[0].note == "grid 4 x 4 to 2 x 8, bicubic_antialias"
    own = nets.ours(img_size=(16, 64))
    assert not load_weights(own, net.state_dict()).of("resized")


@pytest.mark.parametrize(
    ("count", "size", "grid"),
    [
        (16, None, (4, 4)),
        (15, None, None),
        (15, (24, 40), (3, 5)),
        (15, (40, 24), (5, 3)),
        (36, (90, 40), (9, 4)),
        (7, (1, 9), (1, 7)),
    ],
)
def test_grid_of(count, size, grid):
    assert grid_of(count, size) == grid


def test_a_fresh_classifier_only_when_asked(caplog):
    theirs = nets.timm_vit()
    state = theirs.state_dict()
    net = nets.ours(classes=3)
    head = net.head.weight.detach().clone()
    report = load_weights(net, state, fresh_classifier=True)
    assert torch.equal(net.head.weight, head)
    assert [one.note for one in report.of("missing")] == ["begins anew: 3 classes were asked for, the source has 5"] * 2
    vit = sightline.create_model("vit_mini")
    made = sightline.create_model("vit_mini", weights=vit)
    assert made.num_classes == vit.num_classes
    assert not made.weights_report.of("missing")
    assert not caplog.records
    assert sightline.create_model("vit_mini", weights=vit, num_classes=7).num_classes == 7
    assert "begins anew: 7 classes were asked for, the source has 10" in caplog.text
    bare = sightline.create_model("vit_mini", weights=vit, num_classes=0)
    assert [one.theirs for one in bare.weights_report.of("dropped")] == [("head.weight",), ("head.bias",)]


def test_a_source_without_classifier_says_so():
    state = {
        name: t for name, t in sightline.create_model("vit_mini").state_dict().items() if not name.startswith("head")
    }
    with pytest.raises(WeightsError, match=r"no classifier; say num_classes=K"):
        sightline.create_model("vit_mini", weights=state)
    assert sightline.create_model("vit_mini", weights=state, num_classes=4).num_classes == 4


def test_hidden_layer_goes_with_the_head():
    theirs = nets.torchvision_vit(representation_size=7)
    report = load_weights(nets.ours(classes=3), theirs, fresh_classifier=True)
    assert {one.theirs[0].rsplit(".", 1)[0] for one in report.of("dropped")} == {"heads.pre_logits", "heads.head"}


def mismatch(net, source) -> str:
    """The message, after checking that the net was left alone."""
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(net, source)
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    return str(caught.value)


def test_mismatches_name_tensors_and_leave_the_net_alone():
    state = dict(nets.timm_vit().state_dict())
    assert "the net has no place for blocks.1.norm1.weight" in mismatch(nets.ours(replace(nets.CONFIG, depth=1)), state)
    assert "the source lacks blocks.2.norm1.weight" in mismatch(nets.ours(replace(nets.CONFIG, depth=3)), state)
    narrow = mismatch(nets.ours(replace(nets.CONFIG, hidden=5)), state)
    assert "blocks.0.mlp.fc1.weight: (96, 24) in the source, (5, 24) in the net" in narrow
    assert "the net has no place for stranger" in mismatch(nets.ours(), state | {"stranger": torch.zeros(2)})
    integers = state | {"norm.weight": torch.zeros(24, dtype=torch.int8)}
    assert "norm.weight: torch.int8 in the source, torch.float32 in the net" in mismatch(nets.ours(), integers)
    hidden = dict(nets.torchvision_vit(representation_size=7).state_dict()) | {"odd": torch.zeros(1)}
    assert "no place for odd" in mismatch(nets.ours(), hidden)
    assert "holds a Vision Transformer" in mismatch(Trunk(TRUNK, 5), state)
    assert "ask for a fresh one: fresh_classifier=True" in mismatch(nets.ours(classes=3), state)
    assert "dist_token" in mismatch(nets.ours(nets.DISTILLED), state)


def test_half_a_stack_is_a_mismatch():
    state = nets.as_transformers(nets.timm_vit().state_dict())
    del state["vit.encoder.layer.1.attention.attention.key.weight"]
    message = mismatch(nets.ours(), state)
    assert (
        "blocks.1.attn.qkv.weight: encoder.layer.1.attention.attention.key.weight is missing in the source" in message
    )


def test_the_remedy_names_the_net_that_fits():
    with pytest.raises(WeightsError, match="These weights fit deit_mini_distilled"):
        sightline.create_model("vit_mini", weights=sightline.create_model("deit_mini_distilled"))
    with pytest.raises(WeightsError, match="These weights fit san_mini_patchwise"):
        sightline.create_model("san_mini_pairwise", weights=sightline.create_model("san_mini_patchwise"))
    with pytest.raises(ValueError, match="did you mean vit_mini"):
        sightline.create_model("vit_mni", weights="nowhere.pth")


def test_what_fits_is_taken_when_not_strict():
    state = dict(nets.timm_vit().state_dict()) | {"stranger": torch.zeros(2)}
    net = nets.ours(replace(nets.CONFIG, depth=1))
    report = load_weights(net, state, strict=False)
    assert torch.equal(net.norm.weight, state["norm.weight"])
    assert ("stranger",) in [one.theirs for one in report.of("dropped")]
    with pytest.raises(
        WeightsError, match=r"nothing in the state dict given fits.* The source has stranger; the model cls_token,"
    ):
        load_weights(net, {"stranger": torch.zeros(2)}, strict=False)


@pytest.mark.parametrize("prefix", ["module.", "net.", "module.model."])
def test_a_wrappers_prefix_is_taken_off(prefix):
    state = nets.timm_vit().state_dict()
    assert not load_weights(nets.ours(), {prefix + name: tensor for name, tensor in state.items()}).of("missing")


@pytest.mark.parametrize("text", ["https://host/vit.pth", "https:/host/vit.pth", "http://host/"])
def test_an_address_is_not_fetched(text):
    with pytest.raises(WeightsError, match=r"is an address on the network.*: download the file and give its path"):
        load_weights(nets.ours(), text)


def test_no_name_is_not_the_current_folder():
    with pytest.raises(WeightsError, match="'' is neither a file nor a folder"):
        load_weights(nets.ours(), "")


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(nets.timm_vit().state_dict(), tmp_path / "vit.pth")
    assert not load_weights(nets.ours(), "~/vit.pth").of("missing")


def test_report_prints_and_counts():
    net = nets.ours(classes=3, img_size=48)
    report = load_weights(net, nets.timm_vit(), fresh_classifier=True)
    assert report.summary == "VisionTransformer (timm ViT): 29 matched, 1 resized, 2 dropped, 2 missing"
    text = str(report)
    assert "resized  pos_embed (1, 37, 24): grid 4 x 4 to 6 x 6, bicubic_antialias" in text
    assert len(report.rows()) == 5
    assert len(report.rows(everything=True)) == 34
    with pytest.raises(ValueError, match="status must be one of"):
        report.of("lost")


def test_other_channels_than_the_source():
    source = sightline.create_model("resnet_mini", in_chans=1)
    assert sightline.create_model("resnet_mini", weights=source).conv1.in_channels == 1
    with pytest.raises(WeightsError, match=r"conv1.weight: \(32, 1, 3, 3\) in the source, \(32, 3, 3, 3\) in the net"):
        sightline.create_model("resnet_mini", weights=source, in_chans=3)


def test_half_precision_is_widened():
    theirs = nets.timm_vit()
    net = nets.ours()
    load_weights(net, {name: tensor.bfloat16() for name, tensor in theirs.state_dict().items()})
    assert net.norm.weight.dtype == torch.float32
    assert torch.equal(net.norm.weight, theirs.norm.weight.bfloat16().float())


def test_sources_of_another_type_are_refused():
    with pytest.raises(TypeError, match="got int"):
        load_weights(nets.ours(), 3)
    with pytest.raises(WeightsError, match="norm holds none"):
        load_weights(nets.ours(), {"norm": [1.0]})


@pytest.mark.parametrize("name", ["sasa_resnet_mini", "san_mini_pairwise", "vit_mini", "deit_mini_distilled"])
def test_a_pyramid_takes_the_weights_of_the_whole_net(name):
    whole = nets.shaken(sightline.create_model(name, num_classes=7)).eval()
    pyramid = sightline.create_model(name, weights=whole, features_only=True, out_indices=(0, 1)).eval()
    assert len(pyramid.feature_info.channels()) == 2
    expected = sightline.create_model(name, features_only=True, out_indices=(0, 1)).eval()
    image = torch.randn(2, 3, 32, 32)
    stored = {key.removeprefix("model.").replace(".", "_"): value for key, value in whole.state_dict().items()}
    for key, value in pyramid.state_dict().items():
        assert torch.equal(value, stored[key.removeprefix("model.").replace(".", "_")]), key
    got = pyramid(image)
    assert [one.shape for one in got] == [one.shape for one in expected(image)]
    if name == "sasa_resnet_mini":
        deep = sightline.create_model(name, weights=whole, features_only=True).eval()(image)[-1]
        torch.testing.assert_close(deep, whole.forward_features(image))
