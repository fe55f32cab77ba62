"""Hostile, broken and mistaken files: a clear error that names the file and the remedy; nothing executed, nothing half loaded.

`SIGHTLINE_HOSTILE_LIST=FILE` writes what was tried and what it answered.
"""

import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import sightline
from sightline.weights import ModelMeta, WeightsError, load_run, load_weights
from tests.weights import nets

CASES = {}


def case(pattern: str):
    """Register a maker of a bad file, and what its error must say."""

    def register(make):
        CASES[make.__name__] = (make, pattern)
        return make

    return register


class Command:
    """Unpickles by writing a file: the proof that something ran."""

    def __init__(self, proof: Path, wrapper=os.system) -> None:
        self.proof, self.wrapper = proof, wrapper

    def __reduce__(self):
        return self.wrapper, (f"touch {self.proof}",)


@case(r"hostile\.pth is refused: it is a pickle that asks for more than tensors .*Nothing of it was run")
def hostile_torch_zip(folder):
    torch.save({"state_dict": {"norm.weight": torch.zeros(24)}, "x": Command(folder / "proof")}, folder / "hostile.pth")
    return folder / "hostile.pth"


@case(r"hostile\.bin is refused: .*more than tensors")
def hostile_plain_pickle(folder):
    (folder / "hostile.bin").write_bytes(pickle.dumps(Command(folder / "proof"), protocol=2))
    return folder / "hostile.bin"


@case(r"hostile\.pt is refused: .*more than tensors")
def hostile_eval_of_protocol_4(folder):
    (folder / "hostile.pt").write_bytes(pickle.dumps(Command(folder / "proof", eval), protocol=4))
    return folder / "hostile.pt"


@case(r"hostile\.npz is refused: .* holds pickled Python objects, which could run code")
def hostile_npz(folder):
    np.savez(folder / "hostile.npz", **{"embedding/kernel": np.array([Command(folder / "proof")], dtype=object)})
    return folder / "hostile.npz"


@case(r"hostile\.safetensors is not a readable safetensors file")
def pickle_named_safetensors(folder):
    (folder / "hostile.safetensors").write_bytes(b"\x80" * 3 + pickle.dumps(Command(folder / "proof"), protocol=0))
    return folder / "hostile.safetensors"


@case(r"cut\.pth is damaged or cut short")
def truncated_torch(folder):
    torch.save(nets.timm_vit().state_dict(), folder / "whole.pth")
    data = (folder / "whole.pth").read_bytes()
    (folder / "cut.pth").write_bytes(data[: len(data) // 2])
    return folder / "cut.pth"


@case(r"cut\.npz is damaged or cut short")
def truncated_npz(folder):
    np.savez(
        folder / "whole.npz", **{name: t.numpy() for name, t in nets.as_google(nets.timm_vit().state_dict()).items()}
    )
    data = (folder / "whole.npz").read_bytes()
    (folder / "cut.npz").write_bytes(data[: len(data) // 2])
    return folder / "cut.npz"


@case(r"cut\.safetensors is not a readable safetensors file.*get it anew")
def truncated_safetensors(folder):
    save_file(nets.timm_vit().state_dict(), folder / "whole.safetensors")
    data = (folder / "whole.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(data[: len(data) // 2])
    return folder / "cut.safetensors"


@case(r"huge\.safetensors is not a readable safetensors file")
def safetensors_header_of_terabytes(folder):
    header = {"norm.weight": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}
    text = json.dumps(header).encode()
    (folder / "huge.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    return folder / "huge.safetensors"


@case(r"long\.safetensors is not a readable safetensors file")
def safetensors_header_longer_than_the_file(folder):
    (folder / "long.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    return folder / "long.safetensors"


@case(r"huge\.npz is refused: .* declares the shape \(1000000, 1000000\), 4e\+03 GB, and holds \d+ bytes")
def npy_header_of_terabytes(folder):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(32)
    with zipfile.ZipFile(folder / "huge.npz", "w") as archive:
        archive.writestr("embedding/kernel.npy", array)
    return folder / "huge.npz"


@case(r"bomb\.npz is refused: its table of contents claims 0\.3 GB in a file of 0\.3 MB")
def zip_bomb_npz(folder):
    array = np.zeros(7 * 10**7, dtype=np.float32)
    with (
        zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("head/kernel.npy", "w") as file,
    ):
        np.lib.format.write_array(file, array)
    return folder / "bomb.npz"


@case(r"bomb\.pth is refused: its table of contents claims")
def zip_bomb_torch(folder):
    with zipfile.ZipFile(folder / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\x80\x02}.")
        with archive.open("bomb/data/0", "w") as file:
            for _ in range(300):
                file.write(bytes(2**20))
    return folder / "bomb.pth"


@case(r"wide\.pth is refused: norm\.weight claims 4,000\.0 GB")
def torch_tensor_of_terabytes(folder):
    torch.save({"norm.weight": torch.zeros(1).expand(10**6, 10**6)}, folder / "wide.pth")
    return folder / "wide.pth"


@case(r"meta\.pth is refused: norm\.weight is on the meta device")
def torch_tensor_without_storage(folder):
    torch.save({"norm.weight": torch.empty(24, device="meta")}, folder / "meta.pth")
    return folder / "meta.pth"


@case(r"sparse\.pth is refused: norm\.weight is sparse or quantised")
def torch_sparse(folder):
    torch.save({"norm.weight": torch.eye(24).to_sparse()}, folder / "sparse.pth")
    return folder / "sparse.pth"


@case(r"notes\.pth is no weights file: it is text")
def text_named_pth(folder):
    (folder / "notes.pth").write_text("accuracy was 81.8 that day\n")
    return folder / "notes.pth"


@case(r"page\.pth is no weights file: it is a web page, so the download went wrong")
def web_page_named_pth(folder):
    (folder / "page.pth").write_text("<!doctype html><html>404</html>")
    return folder / "page.pth"


@case(r"pointer\.safetensors is no weights file: it is the pointer that Git LFS left in place")
def git_lfs_pointer(folder):
    (folder / "pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    return folder / "pointer.safetensors"


@case(r"empty\.pth is no weights file: it is empty")
def empty_file(folder):
    (folder / "empty.pth").touch()
    return folder / "empty.pth"


@case(r"noise\.bin is no weights file: its first bytes are")
def noise(folder):
    (folder / "noise.bin").write_bytes(bytes(range(200, 255)) * 4)
    return folder / "noise.bin"


@case(r"other\.npz is a zip archive without weights in it")
def zip_of_something_else(folder):
    with zipfile.ZipFile(folder / "other.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    return folder / "other.npz"


@case(r"script\.pt is (damaged|refused)")
def torchscript_archive(folder):
    with zipfile.ZipFile(folder / "script.pt", "w") as archive:
        archive.writestr("script/data.pkl", pickle.dumps(OrderedDict(), protocol=2))
        archive.writestr("script/code/__torch__.py", "op_version_set = 1")
        archive.writestr("script/constants.pkl", pickle.dumps((), protocol=2))
    return folder / "script.pt"


@case(r"list\.pth holds a list, not the tensors of a net by name")
def torch_list(folder):
    torch.save([torch.zeros(2)], folder / "list.pth")
    return folder / "list.pth"


@case(r"nothing\.pth holds no tensors")
def torch_without_tensors(folder):
    torch.save({"epoch": 3}, folder / "nothing.pth")
    return folder / "nothing.pth"


@case(r"bare/model\.safetensors is missing: .*give the folder that holds the weights")
def folder_without_weights(folder):
    (folder / "bare").mkdir()
    (folder / "bare" / "config.json").write_text("{}")
    return folder / "bare"


@case(r"full holds several weights files, a\.pth, b\.pth; name one")
def folder_with_two_files(folder):
    (folder / "full").mkdir()
    for name in ("a.pth", "b.pth"):
        torch.save({"w": torch.zeros(1)}, folder / "full" / name)
    return folder / "full"


@case(r"config\.json can not be read as JSON")
def folder_with_a_broken_config(folder):
    (folder / "broken").mkdir()
    save_file(nets.timm_vit().state_dict(), folder / "broken" / "model.safetensors")
    (folder / "broken" / "config.json").write_text("{nothing")
    return folder / "broken"


@case(r"the source's activation is 'swish'")
def config_of_another_activation(folder):
    (folder / "swish").mkdir()
    save_file(nets.as_transformers(nets.timm_vit().state_dict()), folder / "swish" / "model.safetensors")
    (folder / "swish" / "config.json").write_text(json.dumps(nets.transformers_config(hidden_act="swish")))
    return folder / "swish"


@case(r"distilled\.pth \(DeiT's authors\) does not fit PatchTransformer; the net has no place for dist_token")
def another_architecture(folder):
    torch.save({"model": nets.timm_distilled().state_dict()}, folder / "distilled.pth")
    return folder / "distilled.pth"


@case(r"holds a residual net; PatchTransformer is a Vision Transformer")
def another_kind_of_net(folder):
    torch.save(nets.torchvision_resnet().state_dict(), folder / "resnet.pth")
    return folder / "resnet.pth"


def _with_header(folder, **changes):
    header = ModelMeta("vit_mini", {}, ("a", "b"), (16, 16), (0.5,) * 3, (0.5,) * 3).as_dict() | changes
    state = sightline.create_model("vit_mini", num_classes=2, img_size=16).state_dict()
    save_file(state, folder / "header.safetensors", {"sightline": json.dumps(header)})
    return folder / "header.safetensors"


@case(
    r"header\.safetensors is refused: its header asks for checkpoint_path, pretrained, which would load something else"
)
def header_that_fetches(folder):
    return _with_header(folder, options={"pretrained": True, "checkpoint_path": "/tmp/other.pth"})


@case(r"away\.pth is missing")
def missing_file(folder):
    return folder / "away.pth"


@case(r"imagenet is neither a file nor a folder, nor weights that come with the net")
def unknown_word(folder):
    return "imagenet"


@pytest.mark.parametrize("name", CASES)
def test_bad_files_are_refused(name, tmp_path):
    make, pattern = CASES[name]
    source = make(tmp_path)
    net = nets.ours()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(WeightsError, match=pattern) as caught:
        load_weights(net, source)
    assert not (tmp_path / "proof").exists()
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert len(str(caught.value)) < 1200
    if os.environ.get("SIGHTLINE_HOSTILE_LIST"):
        line = {"case": name, "answer": str(caught.value).replace(str(tmp_path) + "/", "")}
        with open(os.environ["SIGHTLINE_HOSTILE_LIST"], "a") as file:
            file.write(json.dumps(line) + "\n")


@pytest.mark.parametrize("changes", [{"image_size": [10**7, 10**7]}, {"in_chans": 10**9}, {"options": {"patch": 2}}])
def test_stated_sizes_must_be_those_of_the_tensors(changes, tmp_path):
    file = _with_header(tmp_path, **changes)
    if "image_size" in changes:
        with pytest.raises(WeightsError, match="options that"):
            sightline.create_model("vit_mini", weights=file)
    readers = (
        (load_run, sightline.from_pretrained) if "in_chans" not in changes else (load_run,)
    )  # the other asks the tensors
    for read in readers:
        with pytest.raises(WeightsError, match="options that"):
            read(file)


def test_options_of_a_script_are_no_obstacle(tmp_path):
    import argparse

    theirs = nets.timm_vit()
    file = {"model": theirs.state_dict(), "args": argparse.Namespace(lr=5e-4, data="somewhere"), "best": np.float64(3)}
    torch.save(file, tmp_path / "training.pth")
    report = load_weights(nets.ours(), tmp_path / "training.pth")
    assert len(report.of("matched")) == 32


def test_an_old_pickle_without_zip_is_read(tmp_path):
    theirs = nets.timm_vit()
    torch.save(theirs.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert len(load_weights(nets.ours(), tmp_path / "old.pth").of("matched")) == 32


def test_bfloat16_as_jax_saves_it(tmp_path):
    theirs = nets.timm_vit(act_layer="gelu_tanh")
    state = nets.as_google(theirs.state_dict())
    raw = {name: tensor.bfloat16().view(torch.int16).numpy().view("V2") for name, tensor in state.items()}
    np.savez(tmp_path / "vit.npz", **raw)
    net = nets.ours()
    load_weights(net, tmp_path / "vit.npz")
    assert torch.equal(net.blocks[1].attn.qkv.weight, theirs.blocks[1].attn.qkv.weight.bfloat16().float())


def test_fortran_order_and_half_precision_arrays(tmp_path):
    theirs = nets.timm_vit(act_layer="gelu_tanh")
    state = {name: np.asfortranarray(t.numpy()) for name, t in nets.as_google(theirs.state_dict()).items()}
    np.savez_compressed(tmp_path / "vit.npz", **state)
    net = nets.ours()
    load_weights(net, tmp_path / "vit.npz")
    assert torch.equal(net.blocks[0].attn.qkv.weight, theirs.blocks[0].attn.qkv.weight)
