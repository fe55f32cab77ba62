"""Weights that come with sightline: found by name, halves on disk, whole in the net, pictures of any size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import sightline
from sightline.weights import ModelMeta, WeightsError, box, load_net, save_weights
from tests.cli.test_cli import sightline as command

CLASSES = ("cat", "dog", "frog")


@pytest.fixture
def boxed(tmp_path, monkeypatch):
    """A box with weights for one net, halved."""
    monkeypatch.setattr(box, "FOLDER", tmp_path)
    torch.manual_seed(0)
    model = sightline.create_model("resnet_mini", num_classes=3, img_size=16)
    meta = ModelMeta("resnet_mini", {}, CLASSES, (16, 16), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    save_weights(tmp_path / "resnet_mini.pets.safetensors", model, meta, torch.float16)
    return model


def test_by_name(boxed):
    model, meta = load_net("resnet_mini", "pets")
    assert (meta.classes, meta.image_size, meta.mean, meta.std) == (CLASSES, (16, 16), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    assert not model.training
    for name, tensor in boxed.state_dict().items():
        loaded = model.state_dict()[name]
        assert loaded.dtype == tensor.dtype
        torch.testing.assert_close(loaded, tensor, rtol=2**-11, atol=1e-7)
    assert sightline.create_model("resnet_mini", weights="pets", num_classes=5).fc.out_features == 5


def test_on_disk_are_halves(boxed):
    with safe_open(box.boxed("resnet_mini")["pets"], "pt") as file:
        kinds = {str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118 (no mapping)
    assert kinds == {"F16", "I64"}


def test_a_net_without_says_which_there_are(boxed):
    with pytest.raises(WeightsError, match="sightline brings none for it"):
        load_net("vit_mini", "pets")
    with pytest.raises(WeightsError, match="sightline brings pets for it"):
        load_net("resnet_mini", "imagenet")


def test_predict_takes_pictures_of_any_size(boxed, tmp_path):
    for name, size in (("thin.png", (1, 200)), ("wide.jpg", (300, 40)), ("grey.png", (17, 23))):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(
            tmp_path / name
        )
    answer = command("predict", "--model", "resnet_mini", "--weights", "pets", tmp_path, "--format", "json")
    assert answer.returncode == 0, answer.stderr
    rows = json.loads(answer.stdout)
    assert len(rows) == 3
    assert {row["class"] for row in rows} <= set(CLASSES)
    assert "pets" in command("models", "resnet_mini").stdout


@pytest.mark.parametrize(
    "given", [(), ("--model", "resnet_mini"), ("--run", "x", "--model", "resnet_mini", "--weights", "pets")]
)
def test_half_an_answer_is_refused(given):
    answer = command("predict", "picture.png", *given)
    assert answer.returncode == 2
    assert "give a run folder" in answer.stderr


ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "sightline" / "weights" / "box").glob("*.safetensors"))
RESULTS = json.loads((ROOT / "docs" / "results" / "cifar10.json").read_text()) if SHIPPED else {"nets": []}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_what_is_shipped(file):
    net, name, _ = file.name.split(".")
    entry = next(one for one in RESULTS["nets"] if one["model"] == net)
    assert file.stat().st_size == entry["file_bytes"] <= 2_000_000
    assert f"**{entry['test']['accuracy']:.2%}**" in file.with_suffix(".md").read_text()
    assert entry["test"]["n"] == 8_000
    model, meta = load_net(net, name)
    assert len(meta.classes) == 10
    assert meta.classes[3] == "cat"
    assert not str(meta.source).startswith("/")
    with torch.inference_mode():
        for size in ((32, 32), (45, 27)):
            assert model(torch.randn(2, 3, *size)).isfinite().all()


def test_shipped_nets_and_results_are_the_same():
    assert [file.name.split(".")[0] for file in SHIPPED] == sorted(one["model"] for one in RESULTS["nets"])
