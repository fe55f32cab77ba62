"""The nets out: timm and transformers get what they can read, and `sightline convert` tells what it did."""

import json
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import sightline
from sightline.weights import WeightsError, load_weights, meta_of
from sightline.weights.convert import convert
from sightline.weights.export import to_huggingface, to_timm
from sightline.weights.formats import GOOGLE, HUGGINGFACE, SAN_AUTHORS, TORCHVISION_VIT
from sightline.weights.rules import translate, translate_back
from tests.cli.test_cli import sightline as command
from tests.weights import nets

IMAGES = torch.randn(2, 3, 32, 32)


def made(name: str, **options):
    """A net of the catalogue at random."""
    return nets.shaken(sightline.create_model(name, **{"num_classes": 3, "img_size": 32} | options))


def in_timm(model, folder):
    """The same net, out to timm and made there."""
    sightline.save_pretrained(model, folder / "ours")
    convert(folder / "ours", folder / "theirs", to="timm")
    return timm.create_model(f"local-dir:{folder / 'theirs'}", pretrained=True).eval()


@pytest.mark.parametrize("name", ["vit_mini", "deit_mini_distilled"])
@pytest.mark.parametrize("options", [{}, {"img_size": (24, 48)}, {"in_chans": 1}])
def test_transformers_go_to_timm(name, options, tmp_path):
    model = made(name, **options)
    rows, cols = model.img_size
    images = torch.randn(2, model.in_chans, rows, cols)
    theirs = in_timm(model, tmp_path)
    assert type(theirs).__module__.startswith("timm.")
    assert nets.relative(theirs(images), model(images)) < 1e-5


def test_google_form_and_mean_pooling_go_to_timm(tmp_path):
    from sightline.weights.traits import apply_traits

    model = made("vit_mini", global_pool="avg")
    apply_traits(model, {"gelu": "tanh"})
    theirs = in_timm(model, tmp_path)
    assert nets.relative(theirs(IMAGES), model(IMAGES)) < 1e-5
    assert nets.relative(theirs(IMAGES), made("vit_mini", global_pool="avg")(IMAGES)) > 1e-5


@pytest.mark.parametrize(("name", "architecture"), [("se_resnet34", "seresnet34"), ("conv_resnet26", "resnet50")])
def test_resnets_go_to_timm(name, architecture, tmp_path):
    model = made(name)
    theirs = in_timm(model, tmp_path)
    assert theirs.pretrained_cfg["architecture"] == architecture
    assert nets.relative(theirs(IMAGES), model(IMAGES)) < 1e-5


def test_what_timm_lacks_is_an_error():
    for name in ("san_mini_pairwise", "sasa_resnet_mini"):
        model = made(name)
        with pytest.raises(WeightsError, match=f"timm has no net that computes what {name} does"):
            to_timm(model, meta_of(model))


@pytest.mark.parametrize("distilled", [False, True])
def test_transformers_layout_is_the_one_written_by_hand(distilled, tmp_path):
    model = made("deit_mini_distilled" if distilled else "vit_mini")
    meta = replace(meta_of(model), classes=("ape", "bee", "cat"))
    out = to_huggingface(model, meta)
    expected = nets.as_transformers(model.state_dict(), distilled)
    assert out.tensors.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in out.tensors.items())
    assert out.config["id2label"] == {"0": "ape", "1": "bee", "2": "cat"}
    assert out.config["architectures"] == [
        "DeiTForImageClassificationWithTeacher" if distilled else "ViTForImageClassification"
    ]
    assert (out.config["hidden_act"], out.config["layer_norm_eps"], out.config["image_size"]) == ("gelu", 1e-6, 32)
    sightline.save_pretrained(model, tmp_path / "ours", meta)
    convert(tmp_path / "ours", tmp_path / "theirs", to="huggingface")
    again = sightline.from_pretrained(tmp_path / "theirs")
    assert torch.equal(again(IMAGES), model(IMAGES))
    assert again.meta.classes == ("ape", "bee", "cat")


def test_what_transformers_lack_is_an_error():
    for name, options, said in (
        ("san_mini_pairwise", {}, "is a SAN"),
        ("vit_mini", {"global_pool": "avg"}, "pooling 'avg'"),
        ("vit_mini", {"num_classes": 0}, "no classifier"),
    ):
        model = made(name, **options)
        with pytest.raises(WeightsError, match=said):
            to_huggingface(model, meta_of(model))


@pytest.mark.parametrize("form", [HUGGINGFACE, TORCHVISION_VIT, GOOGLE])
def test_every_layout_goes_both_ways(form):
    state = nets.timm_vit().state_dict()
    theirs = translate_back(state, form.rules, nets.HEADS)
    back = translate(theirs, form.rules)
    assert not back.unknown
    assert not back.incomplete
    assert back.tensors.keys() == state.keys()
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in state.items())


def test_san_layout_goes_both_ways():
    state = made("san_mini_patchwise").state_dict()
    back = translate(translate_back(state, SAN_AUTHORS.rules), SAN_AUTHORS.rules)
    assert back.tensors.keys() == state.keys()
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in state.items())


def test_command_converts_and_prints_a_table(tmp_path):
    model = made("vit_mini")
    torch.save(dict(model.state_dict()), tmp_path / "foreign.pth")
    answer = command("convert", tmp_path / "foreign.pth", tmp_path / "out.safetensors")
    assert answer.returncode == 0, answer.stderr
    assert "foreign.pth (timm ViT): 68 matched, 0 resized, 0 dropped, 0 missing" in answer.stdout
    assert torch.equal(sightline.from_pretrained(tmp_path / "out.safetensors")(IMAGES), model(IMAGES))
    larger = command(
        "convert", tmp_path / "out.safetensors", tmp_path / "hf", "--to", "huggingface", "--image-size", "48", "32"
    )
    assert larger.returncode == 0, larger.stderr
    assert "grid 8 x 8 to 12 x 8" in larger.stdout
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["image_size"] == [48, 32]
    rows = json.loads(command("convert", tmp_path / "hf", tmp_path / "x.safetensors", "--format", "json").stdout)
    assert len(rows["entries"]) == 68
    assert load_file(tmp_path / "x.safetensors")["pos_embed"].shape == (1, 97, 96)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere.pth", "x"), 1, "nowhere.pth is missing"),
        (("here.safetensors", "x", "--to", "keras"), 2, "--to is one of"),
        (("here.safetensors", "x.pth"), 1, "weights are written as .safetensors"),
        (("here.safetensors", "x", "--model", "vit_mini"), 1, "nothing in here.safetensors fits"),
        (("here.safetensors", "x"), 1, "no net of sightline's has the tensors of here.safetensors"),
    ],
)
def test_command_errors_are_one_clear_sentence(arguments, code, said, tmp_path):
    save_file({"w": torch.zeros(1)}, tmp_path / "here.safetensors")
    answer = command("convert", *arguments, cwd=tmp_path)
    assert answer.returncode == code
    assert said in answer.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.safetensors"]


def test_command_predicts_from_a_folder_of_transformers(tmp_path):
    from PIL import Image

    model = made("vit_mini")
    sightline.save_pretrained(model, tmp_path / "ours", replace(meta_of(model), classes=("ape", "bee", "cat")))
    convert(tmp_path / "ours", tmp_path / "theirs", to="huggingface")
    Image.new("RGB", (50, 40), (200, 10, 90)).save(tmp_path / "p.png")
    answers = [
        json.loads(command("predict", "--run", tmp_path / name, tmp_path / "p.png", "--format", "json").stdout)
        for name in ("ours", "theirs")
    ]
    assert answers[0][0]["class"] == answers[1][0]["class"]
    assert answers[0][0]["class"] in ("ape", "bee", "cat")


def test_exported_weights_load_here_again():
    model = made("deit_mini_distilled")
    out = to_huggingface(model, meta_of(model))
    fresh = sightline.create_model("deit_mini_distilled", num_classes=3, img_size=32)
    load_weights(fresh, dict(out.tensors))
    assert torch.equal(fresh.head_dist.weight, model.head_dist.weight)


def test_page_shows_the_measured_parity():
    root = Path(__file__).parent.parent.parent
    spec = spec_from_file_location("weights_parity", root / "docs" / "weights_parity.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    results = json.loads(module.RESULTS.read_text())
    assert module.table(results) in module.PAGE.read_text()
    for row in results["rows"]:
        if (row["to"], row["net"]) not in module.REMARKS:
            assert row["difference"] < (1e-4 if row["layers"] >= 24 else 1e-5), row
