"""The page as a whole: complete, well formed, closed to the world, safe with hostile names, small."""

import base64
import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from sightline.report import build_report
from tests.report import sample
from tests.report.conftest import MODELS, SMALL
from tests.report.html import Page

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</script><script>alert(3)</script>",
    "{{ 7 * 7 }}${7*7}",
    "' onload='alert(4)",
    "<!--",
    "a" * 200,
    "ünïcödé 猫 \u2028",
    "",
    "&lt;b&gt;",
]


@pytest.fixture(scope="module")
def text(written):
    return build_report(written).read_text()


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_every_net_and_section_is_there(page):
    for model in MODELS:
        assert any(model in code for code in page.texts["code"])
    for title in (
        "Results",
        "Accuracy against cost",
        "Learning",
        "Where each net looks",
        "What they confuse",
        "Origin",
    ):
        assert title in page.prose
    assert "convolution: fixed window" in page.prose
    assert page.prose.count("twin") >= 2


def test_ids_are_unique_and_references_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("for", "aria-labelledby", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_nothing_is_loaded_from_elsewhere(text, page):
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            link = attributes.get(name, "#")
            plain = tag == "a" and link.startswith("https://arxiv.org/abs/")
            assert plain or link.startswith(("#", "data:image/png;base64,")), f"<{tag} {name}={link[:60]}>"
    assert not page.all("link")
    assert not page.all("iframe")
    style, *_ = page.texts["style"]
    assert "@import" not in style
    assert re.findall(r"url\((?!#)", style) == []
    script = page.texts["script"][-1]
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import)\s*\(", script)
    assert "http" not in script


def test_policy_allows_exactly_this_style_and_script(page):
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, content in (("style-src", page.texts["style"][0]), ("script-src", page.texts["script"][-1])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    for tag, attributes in page.elements:
        assert "style" not in attributes, f"<{tag}> has an inline style, which the policy refuses"
        assert not [name for name in attributes if name.startswith("on")]


def test_hostile_names_stay_text(tmp_path):
    models = ["resnet_mini", "<b>bold</b>_mini"]
    folder = sample.write_comparison(tmp_path, models, classes=HOSTILE, source='"><script>alert(5)</script>', **SMALL)
    page = Page(build_report(folder).read_text())
    assert len(page.all("script")) == 2
    assert not page.all("img")
    assert not [text for text in page.texts.get("b", []) if text == "bold"]
    assert "<b>bold</b>_mini" in page.prose
    assert HOSTILE[0] in page.prose
    data = json.loads(page.texts["script"][0])
    assert data["classes"][:3] == HOSTILE[:3]
    assert data["classes"][8] == "class 8"
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_data_hold_what_the_maps_say(page, written):
    net = json.loads(page.texts["script"][0])["attention"]["nets"][1]
    import zlib

    cells = np.frombuffer(zlib.decompress(base64.b64decode(net["layers"][1]["cells"])), dtype=np.uint8)
    with np.load(written / "ccnet_resnet_mini-s0" / "maps" / "maps.npz") as stored:
        weights = stored["layer1"].astype(np.float32)
    shares = weights / weights.max(axis=(-2, -1), keepdims=True)
    np.testing.assert_allclose(cells.reshape(weights.shape) / 255, shares, atol=0.5 / 255 + 1e-6)


def test_ten_nets_with_diffuse_maps_stay_under_five_megabytes(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 16, 16))
    monkeypatch.setattr(sample, "weights", lambda *_: noise)
    folder = sample.write_comparison(tmp_path, tested=60, epochs=2, side=64)
    path = build_report(folder)
    assert path.stat().st_size < 5_000_000
    page = Page(path.read_text())
    assert "Left out to keep this page small" in page.prose
    nets = json.loads(page.texts["script"][0])["attention"]["nets"]
    assert [bool(net["layers"]) for net in nets] == [name != "resnet_mini" for name in sample.MODELS]


def test_report_needs_no_torch(written, tmp_path):
    code = f"""
import sys
from sightline.report import build_report
build_report({str(written)!r}, {str(tmp_path / "page.html")!r})
heavy = [name for name in ("torch", "torchvision", "timm", "matplotlib", "scipy", "sklearn") if name in sys.modules]
sys.exit(", ".join(heavy) or 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert (tmp_path / "page.html").is_file()
