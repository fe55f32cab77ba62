"""Starting weights: what fits is loaded, the rest is reported."""

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from sightline.runs import RunFolder, RunFolderError
from sightline.train import load_pretrained, train
from tests.train.tiny import CNN, RECIPE, TinyNet, splits


def test_all_but_a_head_of_another_shape(tmp_path):
    source = TinyNet(5, 3)
    save_file(source.state_dict() | {"old.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    model = TinyNet(3, 3)
    head = model.fc.weight.detach().clone()
    report = load_pretrained(model, tmp_path / "w.safetensors")
    assert torch.equal(model.conv.weight, source.conv.weight)
    assert torch.equal(model.fc.weight, head)
    assert report.matched == 7
    assert set(report.missing) == {"fc.weight", "fc.bias"}
    assert set(report.dropped) == {
        "fc.weight: (5, 8) in the file, (3, 8) in the model",
        "fc.bias: (5,) in the file, (3,) in the model",
        "old.weight: the model has none",
    }


def test_positions_are_resized_where_the_module_can(tmp_path):
    def build(size):
        return timm.create_model(
            "vit_tiny_patch16_224", img_size=size, patch_size=4, embed_dim=12, depth=1, num_heads=2, num_classes=3
        )

    torch.manual_seed(0)
    source, model = build(8), build(16)
    with torch.no_grad():
        source.pos_embed.fill_(0.25)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    report = load_pretrained(model, tmp_path / "w.safetensors")
    assert report.dropped == report.missing == ()
    assert model.pos_embed.shape[1] == 17
    torch.testing.assert_close(model.pos_embed, torch.full_like(model.pos_embed, 0.25))


def test_a_run_starts_from_a_run_and_says_so(tmp_path):
    train(RECIPE, CNN, splits(), tmp_path / "first")
    second = replace(RECIPE, epochs=1, lr=1e-6, min_lr=0.0)
    train(second, CNN, splits(), tmp_path / "second", finetune=tmp_path / "first")
    report = RunFolder(tmp_path / "second").read("recipe")["finetune"]
    assert report == {"source": str(tmp_path / "first"), "matched": 9, "dropped": [], "missing": []}
    log = [RunFolder(tmp_path / name).log() for name in ("first", "second")]
    assert log[1][0]["train_loss"] < log[0][0]["train_loss"]


def test_nothing_that_fits(tmp_path):
    save_file({"other.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(RunFolderError, match=r"nothing in .*w\.safetensors fits the model"):
        train(RECIPE, CNN, splits(), tmp_path / "run", finetune=tmp_path / "w.safetensors")
    assert not (tmp_path / "run").exists()
