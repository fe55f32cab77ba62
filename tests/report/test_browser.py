"""The page's script in a real browser, where one is installed: what it shows, what pointer and keys do, and no complaint."""

import base64
import json
import zlib

import numpy as np
import pytest

from sightline.report import build_report
from tests.report.browser import BROWSER, Browser

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome to run the page's script")
DRAWN = "[1, 2, 3].every(net => !document.querySelector(`[data-net='${net}'] .numbers`).hidden)"
SHOWN = "document.getElementById('query-shown').textContent"


@pytest.fixture(scope="module")
def url(written, tmp_path_factory):
    return build_report(written, tmp_path_factory.mktemp("page") / "page.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def no_complaint(browser):
    browser.complaints.clear()
    yield
    browser.ask("1")
    assert browser.complaints == []


def test_a_link_restores_a_view(browser, url):
    browser.open(f"{url}#picture=2&row=3&col=4&theme=dark", 1200)
    browser.until(DRAWN)
    assert browser.ask(SHOWN) == "Row 3, column 4 of 4 × 4, held. The truth: 1."
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 26)"
    shown = browser.ask("[...document.querySelectorAll('[data-net=\"1\"] dd')].map(cell => cell.textContent)")
    assert shown[1].endswith(" of 16")


def test_the_map_of_the_chosen_query_is_drawn(browser, url):
    browser.open(f"{url}#picture=2&row=3&col=2", 1200)
    browser.until(DRAWN)
    browser.ask("(b => { b.value = 100; b.dispatchEvent(new Event('input')); })(document.getElementById('blend'))")
    layer = json.loads(browser.ask("document.getElementById('data').textContent"))["attention"]["nets"][1]["layers"][0]
    cells = np.frombuffer(zlib.decompress(base64.b64decode(layer["cells"])), dtype=np.uint8).reshape(3, 4, 4, 16)
    pixels = """(c => [...Array(16).keys()].map(i => [...c.getContext("2d").getImageData(
      (i % 4 + .2) * c.width / 4, (Math.floor(i / 4) + .2) * c.height / 4, 1, 1).data.slice(0, 3)].join()))(
      document.querySelector('[data-net="1"] canvas'))"""
    browser.until(f"{pixels}.includes('253,231,37')")  # the largest weight: viridis at its end
    drawn = browser.ask(pixels)
    ends = {0: "68,1,84", 255: "253,231,37"}
    for i in (i for i in range(16) if cells[1, 2, 1, i] in ends):
        assert drawn[i] == ends[cells[1, 2, 1, i]]
    assert len(set(drawn)) > 2


def test_keys_and_clicks_choose_the_query(browser, url):
    browser.open(url, 1200)
    browser.until(DRAWN)
    browser.ask("document.getElementById('query').focus()")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight"):
        browser.press(key)
    browser.until(f"{SHOWN}.startsWith('Row 3, column 4 of')")
    assert "row=3&col=4" in browser.ask("location.hash")
    browser.move('[data-net="2"] .stage', 0.1, 0.1, click=True)
    browser.until(f"{SHOWN}.startsWith('Row 1, column 1 of 4 × 4, held')")
    browser.move('[data-net="1"] .stage', 0.9, 0.9)
    browser.until(f"{SHOWN}.startsWith('Row 1, column 1')")
    browser.move('[data-net="2"] .stage', 0.1, 0.1, click=True)
    browser.move('[data-net="1"] .stage', 0.9, 0.6)
    browser.until(f"{SHOWN}.startsWith('Row 3, column 4 of 4 × 4. ')")


def test_the_table_sorts_both_ways(browser, url):
    browser.open(url, 1200)
    click = "document.querySelectorAll('.results thead button')[3].click()"
    order = "[...document.querySelectorAll('.results tbody tr')].map(row => Number(row.cells[3].dataset.order))"
    for direction, reverse in (("ascending", False), ("descending", True)):
        browser.ask(click)
        assert browser.ask("document.querySelectorAll('.results th')[3].getAttribute('aria-sort')") == direction
        assert browser.ask(order) == sorted(browser.ask(order), reverse=reverse)
        assert browser.ask("document.querySelectorAll('[aria-sort]').length") == 1


def test_curves_answer_and_hide(browser, url):
    browser.open(url, 1200)
    browser.ask("(s => { s.value = 2; s.dispatchEvent(new Event('input')); })(document.getElementById('epoch'))")
    values = json.loads(browser.ask("document.getElementById('data').textContent"))["curves"]
    row = browser.ask(
        "[...document.querySelector('table.values tbody tr').cells].slice(1).map(cell => cell.textContent)"
    )
    assert row == [f"{one['values']['0'][1]:.{one['digits']}f}" for one in values]
    browser.ask("document.querySelector('table.values tbody button').click()")
    assert browser.ask("document.querySelectorAll('.line.off').length") == 4  # three figures, one of them drawn twice
    browser.move("svg.curves.wide", 0.99, 0.5)
    browser.until("document.getElementById('epoch-shown').textContent === 'At epoch 4'")


def test_the_curves_leave_other_tables_alone(browser, folder):
    about = folder / "ccnet_resnet_mini-s0" / "maps" / "maps.json"
    gains = {"deletion_gain": 0.02, "deletion_gain_half": 0.01, "insertion_gain": -0.03, "insertion_gain_half": 0.01}
    scores = {"n": 8, "steps": 4, "methods": {"attention": gains}}
    about.write_text(json.dumps(json.loads(about.read_text()) | {"faithfulness": scores}))
    browser.open(build_report(folder).as_uri(), 1200)
    browser.ask("(s => { s.value = 2; s.dispatchEvent(new Event('input')); })(document.getElementById('epoch'))")
    row = "document.querySelector('#faithfulness tbody tr')"
    assert browser.ask(f"[...{row}.cells].map(c => c.textContent)") == ["CCNet", "+0.020 ± 0.010", "−0.030 ± 0.010"]
    assert browser.ask(f"{row}.querySelectorAll('b').length") == 2
    assert browser.ask(f"{row}.querySelectorAll('button').length") == 0


def test_a_confusion_cell_is_read_by_keys(browser, url):
    browser.open(url, 1200)
    browser.ask("document.querySelector('.matrix').focus()")
    browser.press("ArrowDown")
    counts = json.loads(browser.ask("document.getElementById('data').textContent"))["confusions"][0]
    text = browser.ask("document.querySelector('.cell output').textContent")
    assert text.startswith(f"1 → 0: {counts[1][0]} of {sum(counts[1])} (")


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_nothing_sticks_out(browser, url, width):
    browser.open(url, width)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    browser.ask("document.documentElement.style.fontSize = '200%'")
    assert browser.ask("document.documentElement.scrollWidth") <= width
