"""`sightline explain`: pictures of every kind to figures and arrays; every wrong question is answered."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from sightline.cli import verbs  # noqa: F401 (attaches the verbs)
from sightline.cli.app import app
from sightline.cli.explain_files import _rows
from sightline.cli.explain_nets import Net, Seen, load_nets, see
from sightline.cli.explain_panels import Look, Wish
from sightline.data import normalise, read_image
from sightline.explain import Explanation, Geometry


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 40), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # lies on its side: upright it has 40 rows and 60 columns
    image.save(tmp_path / "grey.jpg", exif=exif)
    return tmp_path / "grey.jpg"


def run(*arguments):
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


def test_figure_arrays_and_table(photo, tmp_path):
    rgba = tmp_path / "clear.png"
    Image.new("RGBA", (23, 17), (200, 30, 60, 90)).save(rgba)
    out, arrays = tmp_path / "deep" / "out.svg", tmp_path / "maps.npz"
    asked = (
        "--model",
        "resnet_mini",
        "--model",
        "vit_mini",
        "--untrained",
        "--size",
        "16",
        "--method",
        "attention,grad_cam",
    )
    result = run(
        photo, rgba, *asked, "--at", "12,15", "--faithful", "--compare", "-o", out, "--npz", arrays, "--format", "json"
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["method"] for row in rows] == ["attention", "grad_cam"] * 4
    assert "no attention" in rows[0]["layer"]
    assert rows[2]["cells"] == "4 x 4"
    assert out.read_text().lstrip().startswith("<?xml")
    assert (tmp_path / "deep" / "out.curves.svg").exists()
    with np.load(arrays) as stored:
        about = [json.loads(str(one)) for one in stored["about"]]
        assert len(about) == 6
        assert stored[about[1]["map"]].shape == (4, 4)
        # upright it has 40 x 60 pixels, of which the net sees 35 x 35 from row 2.5 and column 12.5, as 16 x 16
        assert about[1]["at"] == [4, 1]
        assert about[1]["layer"] == "blocks.4.attn"


def test_contact_sheet_of_layers_and_heads(photo, tmp_path):
    out = tmp_path / "sheet.png"
    result = run(
        photo, "--model", "vit_mini", "--untrained", "--size", "8", "--layers", "blocks.1.*", "--head", "all", "-o", out
    )
    assert result.exit_code == 0, result.output
    assert out.stat().st_size > 1000
    assert result.stdout.count("blocks.1.attn") == 4


def test_names_are_no_formulas_and_equal_ones_keep_their_curves(tmp_path):
    files = [tmp_path / folder / "a$\\foo$<b>.png" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        Image.new("RGB", (9, 8), (200, 30, 60)).save(file)
    out = tmp_path / "out.svg"
    result = run(*files, "--model", "vit_mini", "--untrained", "--size", "8", "--faithful", "-o", out)
    assert result.exit_code == 0, result.output
    assert out.read_text().count("a$\\foo$&lt;b&gt;.png") == 2
    assert (tmp_path / "out.curves.svg").read_text().count("a$\\foo$&lt;b&gt;.png") == 2


def test_the_mark_counts_in_the_picture_it_is_drawn_on():
    """A net without attention sees 8 x 8 pixels and has no mark; the one beside it sees 32 x 32."""
    geometry = Geometry(4, 4, (8, 8), (32, 32))
    found = Explanation("attention", torch.ones(1, 4, 4), geometry, False, "attention weight", at=(30, 9))
    net, asked = Net("a", torch.nn.Identity(), None), {"answer": ("cat", 1.0), "method": "attention"}
    sizes = [(seen_at(8), None), (seen_at(32), found)]
    looks = [[Look(seen, net, explanation=explanation, **asked)] for seen, explanation in sizes]
    ((original, *_),) = _rows(looks, Wish(("attention",), (30, 9), None, None, None, None, False), 8)
    assert (original.mark, original.size) == ((30, 9), (32, 32))


def seen_at(side):
    return Seen("a.png", torch.zeros(1, 3, side, side), np.zeros((side, side, 3), np.uint8), (0, 0, 32, 32), (32, 32))


def test_the_net_sees_what_predict_shows_it(tmp_path):
    file, net = str(tmp_path / "large.jpg"), load_nets(["resnet_mini"], [], None, untrained=False)[0]
    pixels = np.random.default_rng(0).integers(
        0, 256, (500, 700, 3), dtype=np.uint8
    )  # large enough to be decoded at a part of its size
    Image.fromarray(pixels).save(file)
    expected = normalise(read_image(file, net.meta.image_size, view=net.view)[None], net.meta.mean, net.meta.std)
    assert torch.equal(see(file, net).input, expected)


def test_numbers_are_written_in_digits(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for option, given in (("--at", "²,1"), ("--size", "²"), ("--head", "²"), ("--target", "²"), ("--set", "steps=²")):
        result = run(photo, "--model", "vit_mini", "--untrained", "--method", "grad_cam", option, given)
        assert result.exit_code != 0
        assert "²" in f"{result.exception}{result.output}"
        assert "int()" not in f"{result.exception}{result.output}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "vit_mini"), "no weights of 'vit_mini' come with sightline"),
        ((), "name at least one net"),
        (("--model", "vit_mini", "--untrained", "--at", "40,0"), "lies outside .* which has 40 rows and 60 columns"),
        (("--model", "vit_mini", "--untrained", "--at", "0,59"), "outside what the net sees .* --size 26,39"),
        (("--model", "vit_mini", "--untrained", "--method", "lime"), "no method 'lime'; known: attention"),
        (("--model", "resnet_mini", "--untrained"), "does not apply.*Methods that do apply: grad_cam"),
        (("--model", "vit_mini", "--untrained", "--head", "9"), "heads or channel groups 0 to 3; got 9"),
        (("--model", "vit_mini", "--untrained", "--layers", "conv9"), "no attention layer matches 'conv9'"),
        (("--model", "vit_mini", "--untrained", "--at", "dist"), "no 'dist' token in this layer; its tokens are class"),
        (("--model", "vit_mini", "--untrained", "--method", "grad_cam", "--target", "cat"), "knows no class 'cat'"),
        (("--model", "vit_mini", "--untrained", "-o", "out.gif"), "ends in .png, .svg, .pdf"),
    ],
)
def test_wrong_questions(photo, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(photo, *arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, ValueError)
    assert re.search(words, str(result.exception), re.S)
