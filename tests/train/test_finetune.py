"""Starting weights: what fits is loaded, the rest is reported."""

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

import sightline
from sightline.runs import RunFolder, RunFolderError
from sightline.train import load_pretrained, train
from sightline.weights import ModelMeta, save_weights
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


def test_a_hybrid_takes_a_trained_residual_net_into_its_stem(tmp_path):
    twin = sightline.create_model("resnet_mini", num_classes=3, img_size=16)
    save_weights(
        tmp_path / "twin.safetensors", twin, ModelMeta("resnet_mini", {}, tuple("abc"), (16, 16), (0,) * 3, (1,) * 3)
    )
    model = sightline.create_model("vit_mini_hybrid", num_classes=3, img_size=16)
    report = load_pretrained(model, tmp_path / "twin.safetensors")
    stem = model.patch_embed.backbone
    assert report.missing == ()
    assert report.matched == len(stem.state_dict())
    assert all(name.startswith(("layer3", "fc")) for name in report.dropped)
    for name, tensor in stem.state_dict().items():
        assert torch.equal(tensor, twin.state_dict()[name]), name
    images = torch.rand(2, 3, 16, 16)
    at_two = twin.eval().layer2(twin.layer1(twin.maxpool(twin.act1(twin.bn1(twin.conv1(images))))))
    torch.testing.assert_close(stem.eval()(images), at_two)
    assert stem.output_size(17, 16) == tuple(stem(torch.rand(1, 3, 17, 16)).shape[2:]) == (9, 8)


def test_a_classifier_that_fits_may_begin_anew(tmp_path):
    options = {"num_classes": 3, "img_size": 8, "dim": 16, "depth": 1, "heads": 2}
    source = sightline.create_model("vit_mini", pre_logits=True, **options)
    torch.nn.init.normal_(source.head.weight)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    model = sightline.create_model("vit_mini", **options)
    report = load_pretrained(model, tmp_path / "w.safetensors", fresh_head=True)
    assert not model.head.weight.any()  # ViT's fine-tuning starts from a head of zeros
    assert {"head.weight", "head.bias"} <= set(report.missing)
    assert "pre_logits.fc.weight" not in model.state_dict()
    assert report.matched == len(model.state_dict()) - 2
    torch.testing.assert_close(model.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)
