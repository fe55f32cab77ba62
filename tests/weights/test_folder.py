"""A model as a folder and back: weights, labels, pre-processing, traits; the Hub, offline."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import save_file

import sightline
from sightline.weights import Preprocessing, WeightsError, hub, load_run, meta_of
from tests.weights import nets

IMAGES = torch.randn(2, 3, 24, 40)
EYE = Preprocessing((24, 40), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 0.9, "center", "bilinear")


def vit(**options):
    """A small ViT at random, for a size that is not square."""
    torch.manual_seed(0)
    return nets.shaken(sightline.create_model("vit_mini", num_classes=3, img_size=(24, 40), **options))


def test_round_trip_with_labels_and_preprocessing(tmp_path):
    model = vit()
    meta = replace(meta_of(model), classes=("ape", "bee", "cat")).with_preprocessing(EYE)
    sightline.save_pretrained(model, tmp_path / "m", meta)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for source in (tmp_path / "m", tmp_path / "m" / "model.safetensors"):
        again = sightline.from_pretrained(source)
        assert torch.equal(again(IMAGES), model(IMAGES))
        assert again.meta == meta
        assert again.pretrained_cfg["label_names"] == ("ape", "bee", "cat")
        assert not again.training
    loaded, read = load_run(tmp_path / "m")
    assert read == meta
    assert torch.equal(loaded(IMAGES), model(IMAGES))
    data = timm.data.resolve_data_config(model=again)
    assert (data["mean"], data["crop_pct"], data["interpolation"]) == (EYE.mean, 0.9, "bilinear")


def test_timm_reads_the_same_folder(tmp_path):
    model = vit()
    sightline.save_pretrained(model, tmp_path)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert torch.equal(again(IMAGES), model(IMAGES))


def test_card_says_what_it_is(tmp_path):
    model = vit()
    sightline.save_pretrained(model, tmp_path, replace(meta_of(model), classes=("ape", "bee", "cat"), source="zoo"))
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: sightline\npipeline_tag: image-classification\n")
    assert "arXiv 2010.11929" in text
    assert "Trained on `zoo`" in text
    assert "3 classes: ape, bee, cat" in text


def test_traits_and_a_hidden_layer_survive(tmp_path):
    theirs = nets.shaken(
        timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=4, embed_dim=96, depth=5, num_heads=4, num_classes=3
        )
    )
    state = dict(theirs.state_dict()) | {
        "pre_logits.fc.weight": torch.randn(6, 96) / 9,
        "pre_logits.fc.bias": torch.randn(6),
    }
    state |= {"head.weight": torch.randn(3, 6), "head.bias": torch.randn(3)}
    model = sightline.create_model("vit_mini", weights=state, img_size=32).eval()
    sightline.save_pretrained(model, tmp_path)
    images = torch.randn(2, 3, 32, 32)
    again, meta = load_run(tmp_path)
    assert meta.traits["pre_logits"] == 6
    assert torch.equal(again(images), model(images))
    assert torch.equal(sightline.from_pretrained(tmp_path)(images), model(images))
    assert sightline.from_pretrained(tmp_path, num_classes=7)(images).shape == (2, 7)


def test_preprocessing_follows_the_size_that_was_asked_for(tmp_path):
    sightline.save_pretrained(vit(), tmp_path)
    model = sightline.create_model("vit_mini", weights=tmp_path, img_size=(48, 40))
    assert model.pretrained_cfg["input_size"] == (3, 48, 40)
    assert meta_of(model).image_size == (48, 40)


def test_options_of_the_net_survive(tmp_path):
    model = nets.shaken(sightline.create_model("vit_mini", img_size=32, num_classes=3, global_pool="avg"))
    sightline.save_pretrained(model, tmp_path)
    assert sightline.from_pretrained(tmp_path).global_pool == "avg"


def test_a_model_not_made_by_name_needs_a_meta(tmp_path):
    with pytest.raises(WeightsError, match="was not made by create_model"):
        sightline.save_pretrained(torch.nn.Linear(2, 2), tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_classes_begin_a_fresh_classifier(tmp_path):
    sightline.save_pretrained(vit(), tmp_path)
    model = sightline.from_pretrained(tmp_path, num_classes=9)
    assert model.meta.classes == tuple(f"class {index}" for index in range(9))
    assert len(model.weights_report.of("dropped")) == 2


def test_a_folder_of_transformers_tells_labels_and_preprocessing(tmp_path):
    shape = {"img_size": 32, "patch_size": 4, "embed_dim": 96, "depth": 5, "num_heads": 4, "num_classes": 5}
    theirs = nets.shaken(timm.create_model("vit_tiny_patch16_224", **shape))
    save_file(nets.as_transformers(theirs.state_dict()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(nets.transformers_config(num_attention_heads=4, hidden_size=96)))
    processor = {"size": {"height": 32, "width": 32}, "image_mean": [0.1] * 3, "image_std": [0.2] * 3, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    model, meta = load_run(tmp_path)
    images = torch.randn(1, 3, 32, 32)
    assert nets.relative(model(images), theirs(images)) < 1e-5
    assert meta.name == "vit_mini"
    assert meta.classes == tuple(f"kind {index}" for index in range(5))
    assert meta.preprocessing == Preprocessing((32, 32), (0.1,) * 3, (0.2,) * 3, 1.0, "squash", "bicubic")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An empty cache, and no downloads."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "hf-hub:acme/vit",
            "acme/vit is not in the cache of the Hugging Face Hub, and HF_HUB_OFFLINE forbids the network",
        ),
        ("timm:vit_tiny_patch16_224", "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k is not in the cache"),
        ("timm:nobody", "timm has no net 'nobody'"),
        ("hf-hub:acme", "a repository of the Hub is named ORG/NAME"),
    ],
)
def test_offline_is_one_clear_sentence_at_once(source, said, offline):
    begin = time.perf_counter()
    with pytest.raises(WeightsError, match=said):
        sightline.create_model("vit_mini", weights=source)
    assert time.perf_counter() - begin < 5


def test_no_network_is_noticed_without_retries(offline, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        WeightsError, match=r"the Hub can not be reached from here. Where there is a network: `hf download acme/vit"
    ):
        sightline.create_model("vit_mini", weights="hf-hub:acme/vit")


def test_the_cache_serves_without_a_network(offline):
    commit, repo = "0123456789012345678901234567890123456789", offline / "cache" / "models--acme--vit"
    model = vit()
    sightline.save_pretrained(model, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    for source in ("hf-hub:acme/vit", f"hf-hub:acme/vit@{commit}"):
        again = sightline.from_pretrained(source)
        assert torch.equal(again(IMAGES), model(IMAGES))
        assert again.weights_report.source == source


def test_timm_source_takes_what_timm_downloaded_before(offline, monkeypatch):
    theirs = nets.timm_vit()
    (offline / "torch" / "checkpoints").mkdir(parents=True)
    torch.save({"model": theirs.state_dict()}, offline / "torch" / "checkpoints" / "small.pth")
    cfg = SimpleNamespace(url="https://somewhere/small.pth", hf_hub_id="")
    monkeypatch.setattr("timm.get_pretrained_cfg", lambda name: cfg)
    found = hub.cached_timm_folder("vit_tiny_patch16_224")
    assert found == offline / "torch" / "checkpoints" / "small.pth"


def test_push_uploads_the_folder(monkeypatch):
    seen = {}

    class Api:
        def __init__(self, **options):
            seen["token"] = options["token"]

        def create_repo(self, repo, private, exist_ok):
            seen["repo"] = (repo, private, exist_ok)
            return SimpleNamespace(repo_id=repo)

        def upload_folder(self, repo_id, folder_path, commit_message):
            seen["files"] = sorted(path.name for path in folder_path.iterdir())
            return f"https://hub/{repo_id}/commit/1"

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr(hub, "_check_online", lambda repo, fault="": None)
    answer = sightline.push_to_hub(vit(), "acme/vit", private=True, token="t")
    assert answer == "https://hub/acme/vit/commit/1"
    assert seen == {
        "token": "t",
        "repo": ("acme/vit", True, True),
        "files": ["README.md", "config.json", "model.safetensors"],
    }


def test_push_says_at_once_when_offline(offline):
    with pytest.raises(WeightsError, match="acme/vit can not be uploaded, and HF_HUB_OFFLINE forbids the network"):
        sightline.push_to_hub(vit(), "acme/vit")


def test_weights_in_the_box_are_known_by_name(tmp_path, monkeypatch):
    from sightline.weights import box

    model = vit()
    sightline.save_pretrained(model, tmp_path / "saved")
    (tmp_path / "saved" / "model.safetensors").rename(tmp_path / "vit_mini.zoo.safetensors")
    monkeypatch.setattr(box, "FOLDER", tmp_path)
    assert torch.equal(sightline.create_model("vit_mini", weights="zoo").eval()(IMAGES), model(IMAGES))
    with pytest.raises(WeightsError, match=r"nor weights that come with the net \(sightline brings zoo for it\)"):
        sightline.create_model("vit_mini", weights="cifar10")
