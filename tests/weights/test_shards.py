"""Weights spread over several files beside an index: the same net as from one file; an index that lies is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sightline.weights import WeightsError, load_weights
from sightline.weights.source import open_source
from tests.weights import nets


def write(folder, state, count=3, **changes):
    """Spread a state over `count` files with an index; `changes` go into its weight_map."""
    files = {name: f"model-{number % count + 1:05}-of-{count:05}.safetensors" for number, name in enumerate(state)}
    for file in set(files.values()):
        save_file({name: state[name] for name in state if files[name] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": files | changes}))
    return index


@pytest.mark.parametrize("named", ["folder", "index"])
def test_the_same_net_as_from_one_file(tmp_path, named):
    theirs, net = nets.timm_vit(), nets.ours()
    index = write(tmp_path, theirs.state_dict())
    report = load_weights(net, tmp_path if named == "folder" else index)
    assert not report.of("missing")
    assert not report.of("dropped")
    image = torch.randn(2, 3, nets.SIDE, nets.SIDE)
    torch.testing.assert_close(net.eval()(image), theirs.eval()(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"norm.weight": "../model.safetensors"}, "lie beside it"),
        ({"norm.weight": "/etc/passwd"}, "lie beside it"),
        ({"norm.weight": "again.index.json"}, "lie beside it"),
        ({"norm.weight": 3}, "must give every tensor a file name"),
        ({"norm.weight": "gone.safetensors"}, r"gone\.safetensors is missing"),
        ({"other.weight": "model-00001-of-00003.safetensors"}, "it lacks other.weight"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path, changes, said):
    write(tmp_path, nets.timm_vit().state_dict(), **changes)
    with pytest.raises(WeightsError, match=said):
        open_source(tmp_path)


def test_a_file_with_more_than_the_index_gives_it_is_refused(tmp_path):
    index = write(tmp_path, nets.timm_vit().state_dict())
    placed = json.loads(index.read_text())
    del placed["weight_map"]["norm.weight"]
    index.write_text(json.dumps(placed))
    with pytest.raises(WeightsError, match=r"also holds norm\.weight"):
        open_source(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', "[" * 100_000])
def test_a_damaged_index_is_named(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(WeightsError, match="index"):
        open_source(tmp_path)
