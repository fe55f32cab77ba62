"""The page of measurements: bars from fixed samples, tables from data, and the committed page from the committed numbers."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def scripts(monkeypatch):
    """The modules of benchmarks/, which are scripts and no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    names = ("bars", "chart", "page")
    yield {name: import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


def contender(name: str, kind: str, forward: list[float], memory: int = 1, **more) -> dict:
    return {
        "name": name,
        "kind": kind,
        "note": "",
        "refused": "",
        "error": {"forward": 1e-7, "backward": None},
        "seconds": {"forward": forward},
        "memory": {"forward": memory},
        **more,
    }


def measured(section: str, name: str, contenders: list[dict], **more) -> dict:
    machine = {"matmul_gflops": 100.0, "copy_gbytes": 20.0, "side": 64}
    environment = {"cpu": "a processor", "threads": 2, "device": "cpu", "torch": "2", "date": "2026-01-02T03:04:05"}
    one = {"name": name, "about": "some", "batch": 8, "macs": 0, "machine": machine, "commit": "abc", **more}
    return {"section": section, "environment": environment, "cases": [one | {"contenders": contenders}]}


def results() -> dict:
    ops = [
        contender("sightline", "ours", [1.0, 2.0, 3.0], 10),
        contender("unfold", "rival", [80.0, 100.0, 120.0], 1000),
        contender("3 x 3 convolution", "baseline", [2.0, 2.0, 8.0]),
    ]
    base = contender("conv_resnet50", "baseline", [4.0, 4.0, 4.0], macs=4000)
    sasa = contender("sasa_resnet50", "ours", [5.0, 5.0, 5.0], macs=3000)
    san = contender("san10_pairwise", "ours", [6.0, 6.0, 6.0], macs=2000)
    growing = contender("sightline", "ours", [], slope=1.05, last_slope=1.2)
    growing["seconds"] = {"32": [0.1], "64": [0.4]}
    return {
        "ops": measured("ops", "local_attention 56", ops, macs=10**11, bytes_moved=10**9),
        "nets": measured("nets", "inference, some", [base, sasa, san]),
        "scaling": measured("scaling", "dot_product", [growing]),
    }


def test_bars_show_losses_beside_wins(scripts):
    rows = {one["case"]: one for one in (bar.row() for bar in scripts["bars"].bars(results()))}
    operator = rows["`local_attention` over the 3 x 3 convolution of the stage, forward"]
    assert operator["reached"].startswith("56 px: 0.5 · 28 px: not measured")  # 1/2, 2/2, 3/8 round by round
    assert (operator["bar"], operator["met"]) == ("at most 0.6", "yes")
    assert rows["unfold over `local_attention`, forward"]["reached"].startswith("56 px: 50")
    assert rows["peak memory of `local_attention` over unfold's, forward"]["reached"].startswith("56 px: 0.01")
    net = rows["images a second of `sasa_resnet50` over `conv_resnet50`'s"]
    assert (net["reached"], net["met"]) == ("inference: 0.8 · training: not measured", "**no**")
    san = rows["time of a multiply-add in `san10_pairwise` over `conv_resnet50`'s"]
    assert (san["reached"], san["met"]) == ("inference: 3 · training: not measured", "**no**")
    assert rows["slope of dot_product over pixels"]["met"] == "yes"
    nothing = rows["whole SASA layer over that convolution, forward"]
    assert (nothing["reached"], nothing["met"]) == ("not measured", "")


def test_page_and_picture(scripts, tmp_path):
    text = scripts["page"].page(results())
    assert "4 of 6 measured numbers meet their bar" in text
    assert "limit 2e+03 ms forward" in text  # 2e11 operations at 1e11 a second, longer than 1e9 bytes at 2e10
    assert "| sightline | 2000 (1000..3000) | 0.50 |" in text
    assert "a processor, 2 threads, torch 2, float32, 2026-01-02, commit abc" in text
    scripts["chart"].draw(results(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_committed_page_shows_the_committed_numbers(scripts):
    page = scripts["page"]
    assert page.PAGE.read_text() == page.page(page.load()), "run .venv/bin/python benchmarks/page.py"
    assert page.PICTURE.exists()
