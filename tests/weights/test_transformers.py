"""Against transformers itself, both ways; runs where it is installed, for it is no dependency."""

import warnings
from dataclasses import replace

import pytest
import torch

import sightline
from sightline.weights import load_weights, meta_of
from sightline.weights.convert import convert
from sightline.weights.traits import apply_traits
from tests.weights import nets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed; it is no dependency of sightline"
    )

pytestmark = pytest.mark.filterwarnings("ignore")
SHAPE = {
    "hidden_size": 96,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "image_size": 32,
    "patch_size": 4,
    "num_labels": 3,
}
IMAGES = torch.randn(2, 3, 32, 32)
CLASSES = {
    "vit": (transformers.ViTConfig, transformers.ViTForImageClassification),
    "deit": (transformers.DeiTConfig, transformers.DeiTForImageClassificationWithTeacher),
    "deit_one_head": (transformers.DeiTConfig, transformers.DeiTForImageClassification),
}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("options", [{}, {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-3}])
def test_from_transformers(kind, options, tmp_path):
    config, cls = CLASSES[kind]
    theirs = nets.shaken(cls(config(**SHAPE, **options)))
    expected = theirs(IMAGES).logits.detach()
    theirs.save_pretrained(tmp_path)
    name = "vit_mini" if kind == "vit" else "deit_mini_distilled"
    net = sightline.create_model(name, num_classes=3, img_size=32).eval()
    for source in (tmp_path, theirs):
        load_weights(net, source)
        assert nets.relative(net(IMAGES), expected) < 1e-5
    found = sightline.from_pretrained(tmp_path)
    assert found.meta.name == name
    assert nets.relative(found(IMAGES), expected) < 1e-5


@pytest.mark.parametrize("name", ["vit_mini", "deit_mini_distilled"])
@pytest.mark.parametrize("size", [32, (24, 48)])
def test_to_transformers(name, size, tmp_path):
    model = nets.shaken(sightline.create_model(name, num_classes=3, img_size=size))
    apply_traits(model, {"gelu": "tanh", "norm_eps": 1e-3})
    sightline.save_pretrained(model, tmp_path / "ours", replace(meta_of(model), classes=("ape", "bee", "cat")))
    convert(tmp_path / "ours", tmp_path / "theirs", to="huggingface")
    cls = transformers.AutoModelForImageClassification if name == "vit_mini" else CLASSES["deit"][1]
    theirs, loading = cls.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not any(loading[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.config.id2label == {0: "ape", 1: "bee", 2: "cat"}
    images = torch.randn(2, 3, *model.img_size)
    assert nets.relative(theirs.eval()(images).logits, model(images)) < 1e-5


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
def test_preprocessing_goes_along(crop_mode, tmp_path):
    from PIL import Image

    from sightline.data import View, normalise, read_image

    model = nets.shaken(sightline.create_model("vit_mini", num_classes=3, img_size=32))
    meta = replace(
        meta_of(model), crop_mode=crop_mode, crop=0.8 if crop_mode == "center" else 1.0, interpolation="bilinear"
    )
    sightline.save_pretrained(model, tmp_path / "ours", meta)
    convert(tmp_path / "ours", tmp_path / "theirs", to="huggingface")
    picture = Image.effect_noise((90, 60), 60).convert("RGB").resize((180, 120), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "p.png")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "theirs")
    theirs = torch.as_tensor(processor(picture, return_tensors="pt")["pixel_values"])
    view = View(meta.crop, crop_mode == "squash", meta.interpolation)
    ours = normalise(read_image(tmp_path / "p.png", (32, 32), view=view)[None], meta.mean, meta.std)
    assert (theirs - ours).abs().mean() < 0.06  # resampled in another order of steps
