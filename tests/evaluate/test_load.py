"""A weights file stands on its own, and a file that does not is refused with its name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from sightline.evaluate import ModelMeta, load_run, read_weights, save_weights
from sightline.runs import RunFolderError
from tests.train.tiny import CNN, TinyNet

META = ModelMeta(CNN, {"width": 4}, ("a", "b", "c"), (6, 5), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), source="tiny")


def tiny() -> TinyNet:
    return TinyNet(3, 3, width=4)


def test_round_trip_of_folder_and_file(tmp_path):
    model = tiny()
    model.norm.running_mean.add_(0.5)
    save_weights(tmp_path / "model.safetensors", model, META)
    x = torch.randn(2, 3, 6, 5)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        loaded, meta = load_run(path)
        assert meta == META
        assert not loaded.training
        torch.testing.assert_close(loaded(x), model.eval()(x), rtol=0, atol=0)


def test_what_halves_can_not_hold_stays_whole(tmp_path):
    model = tiny()
    model.norm.running_var.copy_(torch.tensor([1.0, 7e4, 2.0, 3.0]))
    save_weights(tmp_path / "w.safetensors", model, META, torch.float16)
    kept = load_file(tmp_path / "w.safetensors")
    assert {name for name, t in kept.items() if t.dtype == torch.float32} == {"norm.running_var"}
    loaded, _ = load_run(tmp_path / "w.safetensors")
    assert loaded.norm.running_var.tolist() == [1.0, 7e4, 2.0, 3.0]
    assert loaded.conv.weight.dtype == torch.float32


def test_options_survive_json(tmp_path):
    import timm

    options = {"patch_size": (2, 5), "embed_dim": 8, "depth": 1, "num_heads": 2}
    meta = ModelMeta("vit_tiny_patch16_224", options, ("a", "b"), (6, 10), (0.5,) * 3, (0.5,) * 3)
    model = meta.build()
    assert model.patch_embed.grid_size == (3, 2)
    save_weights(tmp_path / "w.safetensors", model, meta)
    loaded, _ = load_run(tmp_path / "w.safetensors")
    assert isinstance(loaded, timm.models.vision_transformer.VisionTransformer)
    assert loaded.patch_embed.patch_size == (2, 5)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "does not say which model it belongs to"),
        ("{", "has a damaged header"),
        (json.dumps({"schema": 1, "name": CNN}), "has a damaged header"),
        (json.dumps({"schema": 9}), "has schema 9; this sightline reads up to 1"),
    ],
)
def test_a_header_that_does_not_help(tmp_path, header, message):
    metadata = None if header is None else {"sightline": header}
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors", metadata)
    with pytest.raises(RunFolderError, match=message):
        load_run(tmp_path / "w.safetensors")


def test_weights_of_another_model_are_refused(tmp_path):
    save_weights(tmp_path / "w.safetensors", TinyNet(3, 3, width=6), META)
    with pytest.raises(RunFolderError, match="does not fit the model 'tiny_cnn_for_tests' it names"):
        load_run(tmp_path / "w.safetensors")


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(RunFolderError, match="the run has not finished; resume it"):
        load_run(tmp_path)
    with pytest.raises(RunFolderError, match=r"a run folder or a \.safetensors file"):
        load_run(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    with pytest.raises(RunFolderError, match=r"bad\.safetensors is not a readable safetensors file"):
        read_weights(tmp_path / "bad.safetensors")
