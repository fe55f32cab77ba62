"""The page in a real browser, where one is installed: pointer, keys, links, files; no complaint, and no request elsewhere."""

import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

from sightline.data import seen_box
from sightline.web import create_app
from sightline.web.serve import listen, server
from tests.report.browser import BROWSER
from tests.web.conftest import encoded

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome to run the page's script")
READY = "#explorer[aria-busy=false]"
PATIENCE = 30.0
NETS = "sasa_resnet_mini,deit_mini_distilled"


@pytest.fixture(scope="module")
def address(nets, shown):
    listening = listen("127.0.0.1", 0)
    running = server(create_app(nets, shown))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    running.should_exit = True
    thread.join(10)
    listening.close()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Open the page; at the end nothing was complained of, and nothing was asked elsewhere."""
    complaints, asked, contexts = [], [], []

    def open_page(view="", width=1200, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address + view)
        page.wait_for_selector(READY)
        page.asked = asked
        page.complaints = complaints
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


def until(page, condition):
    """Wait for a JavaScript condition; the page's own policy forbids what playwright does for that."""
    end = time.monotonic() + PATIENCE
    while not holds(page, condition):
        assert time.monotonic() < end, f"never true: {condition}"
        page.wait_for_timeout(20)


def holds(page, condition):
    """Whether a JavaScript condition holds; not yet while the page is being loaded anew."""
    try:
        return page.evaluate(condition)
    except sync_api.Error as error:
        if "context was destroyed" not in str(error):
            raise
        return False


def where(page):
    return page.text_content("#where")


def over(page, selector, down, across):
    """A place of an element, in shares, in pixels of the window."""
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def colours(page, net):
    """The colours of a tile's cells: of a grid of 8 x 8 points."""
    return page.evaluate(
        """net => {
          const canvas = document.querySelector(`[data-net="${net}"] canvas`);
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
          copy.drawImage(canvas, 0, 0);
          const at = (i) => [(i % 8 + .3) * canvas.width / 8, (Math.floor(i / 8) + .3) * canvas.height / 8];
          return [...Array(64).keys()].map((i) => [...copy.getImageData(...at(i), 1, 1).data.slice(0, 3)].join());
        }""",
        net,
    )


def test_the_pointer_moves_all_maps_and_asks_the_server_nothing(visit):
    page = visit(f"#nets={NETS}&blend=100")
    page.wait_for_timeout(300)  # the layers that are fetched ahead
    until(page, "performance.getEntriesByType('resource').filter(e => e.name.includes('api/maps')).length >= 10")
    page.wait_for_timeout(200)
    asked, before = len(page.asked), [colours(page, net) for net in NETS.split(",")]
    for step in range(20):
        page.mouse.move(*over(page, "#query canvas", 0.1 + 0.02 * step, 0.3 + 0.01 * step))
    page.mouse.move(*over(page, "#query canvas", 0.9, 0.7))
    until(page, "document.getElementById('where').textContent.startsWith('Row 44, column 51 of 48 × 72')")
    after = [colours(page, net) for net in NETS.split(",")]
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert len(page.asked) == asked
    told = page.evaluate("({...document.getElementById('latency').dataset})")
    assert int(told["moves"]) >= 2
    assert float(told["median"]) > 0


def test_the_map_that_is_drawn_is_the_map(visit, nets, shown):
    from sightline.web.maps import look

    net = nets["deit_mini_distilled"]
    top, left, *_ = seen_box((48, 72), net.meta.image_size, net.eye.view)
    page = visit(f"#nets={NETS}&layers=1.1&row={int(top) + 2}&col={int(left) + 2}&pin=1&blend=100")
    found = look(net, shown["example-1"].picture.seen[net.eye], net.layers[0], 10**9)
    rows, cols = found.keys.rows, found.keys.cols
    assert (rows, cols) == (8, 8)
    expected = found.weights[0, found.queries.prefix]  # the cell in the corner of what is seen
    drawn = colours(page, net.name)
    assert drawn[int(expected.argmax())] == "253,231,37"
    brightness = [int(one.split(",")[1]) for one in drawn]  # the green of viridis only grows
    inner = [i for i in range(64) if i % 8 > 1 and i // 8 > 1]  # the frame of the query covers the corner
    order = np.argsort(expected[inner])
    assert np.all(np.diff(np.array(brightness)[inner][order]) >= 0)


def test_a_dropped_picture_is_looked_at(visit):
    page = visit(f"#nets={NETS}")
    content = list(encoded("JPEG", 100, 50))
    transfer = page.evaluate_handle(
        """bytes => { const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "my dog.jpg", {type: "image/jpeg"})); return data; }""",
        content,
    )
    page.dispatch_event("#query", "dragover", {"dataTransfer": transfer})
    assert page.evaluate("document.body.classList.contains('dropping')")
    page.dispatch_event("#query", "drop", {"dataTransfer": transfer})
    until(page, "document.getElementById('where').textContent.includes('of 100 × 50')")
    page.wait_for_selector(READY)
    assert page.evaluate("document.querySelector('input[name=picture]:checked + img').alt") == "my dog"
    until(page, "document.querySelector('.answer').textContent.startsWith('says ')")
    page.wait_for_load_state("networkidle")  # what is asked of a forgotten picture ends as an error on the console
    page.click("#forget")
    until(page, "document.querySelectorAll('input[name=picture]').length === 1")
    page.wait_for_selector(READY)


@pytest.mark.parametrize(("height", "width", "size"), [(3000, 2, "1024 × 1"), (2, 3000, "1 × 1024")])
def test_a_very_long_picture_can_be_pointed_at_and_saved(visit, height, width, size):
    page = visit(f"#nets={NETS}")
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": encoded("PNG", height, width)})
    until(page, f"document.getElementById('where').textContent.endsWith('of {size}')")
    page.wait_for_selector(READY)
    sides = page.evaluate("(b => [b.height, b.width])(document.querySelector('#query canvas').getBoundingClientRect())")
    assert min(sides) > 20
    for high, wide in page.evaluate("[...document.querySelectorAll('.stage canvas')].map(c => [c.height, c.width])"):
        assert high == wide  # these nets see a square
    with page.expect_download() as download:
        page.click("#save-picture")
    assert Image.open(io.BytesIO(download.value.path().read_bytes())).height < 5000


def test_a_file_that_is_no_picture_gets_a_sentence(visit):
    page = visit(f"#nets={NETS}")
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"<svg onload=alert(1)>"})
    page.wait_for_selector("#banner:not([hidden])")
    assert "no picture of a kind that is taken" in page.text_content("#banner")
    page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"hello"})
    until(page, "document.getElementById('banner').textContent.includes('text/plain')")
    assert "of 48 × 72" in where(page)
    page.complaints[:] = [one for one in page.complaints if "415" not in one]  # Chromium logs every refusal


def test_keys_move_pin_and_are_spoken(visit):
    page = visit(f"#nets={NETS}&layers=1.1")
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "query":
            break
    assert page.evaluate("document.activeElement.id") == "query"
    before = where(page)
    page.keyboard.press("ArrowRight")
    until(page, f"document.getElementById('where').textContent !== {json.dumps(before)}")
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('where').textContent.endsWith(', pinned')")
    until(page, "document.getElementById('spoken').textContent.includes('SASA: looks at')")
    until(page, "location.hash.includes('pin=1')")
    held = where(page)
    page.mouse.move(*over(page, "#query canvas", 0.8, 0.6))
    page.wait_for_timeout(60)
    assert where(page) == held
    page.locator("#query").focus()
    page.keyboard.press("Escape")
    page.mouse.move(*over(page, "#query canvas", 0.7, 0.6))
    until(page, f"document.getElementById('where').textContent !== {json.dumps(held)}")


def test_a_link_brings_the_view_back(visit):
    page = visit(f"#picture=example-1&nets={NETS}&layers=2.3&head=1&row=30&col=40&pin=1&scale=common&theme=dark")
    assert where(page) == "Row 30, column 40 of 48 × 72, pinned"
    assert page.evaluate("[...document.querySelectorAll('.tile select')].map(one => one.value)") == ["1", "2"]
    assert page.evaluate("document.getElementById('head').value") == "1"
    assert page.evaluate("document.getElementById('scale').value") == "common"
    assert "the same for all" in page.text_content("#most")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 26)"
    page.select_option(".tile select", "0")
    page.click("#link")
    until(page, "document.getElementById('link').textContent === 'Copied'")
    link = page.evaluate("navigator.clipboard.readText()")
    again = visit(link.partition("/#")[2] and "#" + link.partition("/#")[2])
    assert where(again) == where(page)
    assert again.evaluate("[...document.querySelectorAll('.tile select')].map(one => one.value)") == ["0", "2"]


def test_skipping_to_the_picture_keeps_the_view(visit):
    page = visit(f"#nets={NETS}&theme=dark")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "query"
    until(page, "location.hash.includes('nets=')")
    assert f"nets={NETS}" in page.evaluate("location.hash")
    assert page.evaluate("[...document.querySelectorAll('.tile')].length") == 2
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_link_to_what_is_gone_says_so(visit):
    page = visit("#picture=gone&nets=nobody,sasa_resnet_mini")
    assert "Not here: nobody." in page.text_content("#banner")
    assert "picture of this link is not here" in page.text_content("#banner")
    assert page.evaluate("document.querySelectorAll('.tile').length") >= 2


def test_a_link_followed_in_the_same_tab_is_followed_whole(visit):
    page = visit(f"#nets={NETS}")
    page.evaluate("location.hash = '#picture=gone&nets=nobody,san_mini_pairwise,ccnet_resnet_mini'")
    until(page, "document.querySelectorAll('.tile').length === 2 && location.hash.includes('example-1')")
    chosen = page.evaluate("[...document.querySelectorAll('input[name=net]:checked')].map(one => one.value)")
    assert chosen == ["ccnet_resnet_mini", "san_mini_pairwise"]
    assert "Not here: nobody. The picture of this link" in page.text_content("#banner")
    page.evaluate(f"location.hash = '#nets={NETS}'")
    until(page, "document.getElementById('banner').hidden")


def test_heads_tokens_layers_and_play(visit):
    page = visit(f"#nets={NETS}&layers=1.1&blend=100", reduced_motion="no-preference")
    first = colours(page, "deit_mini_distilled")
    page.select_option("#head", "2")
    until(page, "location.hash.includes('head=2')")
    second = colours(page, "deit_mini_distilled")
    page.select_option("#from", "1")
    until(page, "document.getElementById('where').textContent === 'The distillation token asks'")
    third = colours(page, "deit_mini_distilled")
    assert len({tuple(first), tuple(second), tuple(third)}) == 3
    page.click("#play")
    until(page, "document.getElementById('play').textContent === 'Stop'")
    until(page, "Number(document.getElementById('depth').value) >= 2")
    page.click("#play")
    until(page, "document.getElementById('play').textContent === 'Play'")


def test_nets_are_chosen_within_their_bounds(visit):
    page = visit(f"#nets={NETS}")
    assert page.is_disabled("input[value=sasa_resnet_mini]")
    page.check("input[value=resnet_mini]")
    page.wait_for_selector("[data-net=resnet_mini] .veil:not([hidden])")
    assert "no attention map" in page.text_content("[data-net=resnet_mini] .veil")
    assert "untrained" in page.text_content("[data-net=resnet_mini] .origin")
    page.uncheck("input[value=sasa_resnet_mini]")
    until(page, "location.hash.includes('nets=resnet_mini,deit_mini_distilled')")


def test_a_phone_has_room_for_all_of_it(visit):
    page = visit(
        f"#nets={NETS}",
        width=390,
        height=844,
        has_touch=True,
        is_mobile=True,
        color_scheme="dark",
        reduced_motion="reduce",
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 26)"
    assert page.text_content("#play") == "Next"
    before = where(page)
    page.locator("[data-net=sasa_resnet_mini] .stage").tap(position={"x": 20, "y": 20})
    until(page, f"document.getElementById('where').textContent !== {json.dumps(before)}")


def test_everything_has_a_name(visit):
    page = visit(f"#nets={NETS}")
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select, [tabindex], img')].filter(one => !(
        one.getAttribute('aria-label') || one.alt || one.labels?.[0]?.textContent.trim()
        || one.labels?.[0]?.querySelector('img')?.alt || one.textContent.trim())).map(one => one.outerHTML)"""
    )
    assert nameless == []


def test_what_is_shown_can_be_kept(visit, tmp_path):
    page = visit(f"#nets={NETS}&row=20&col=20&pin=1")
    kept = {}
    for button in ("save-picture", "save-numbers", "save-maps"):
        with page.expect_download() as download:
            page.click(f"#{button}")
        kept[button] = (download.value.suggested_filename, download.value.path().read_bytes())
    name, picture = kept["save-picture"]
    assert name == "sightline-noise.png"
    assert Image.open(io.BytesIO(picture)).width > 600
    told = json.loads(kept["save-numbers"][1])["looks"]
    assert [one["net"] for one in told] == NETS.split(",")
    stored = np.load(io.BytesIO(kept["save-maps"][1]))
    assert {f"{net}/weights" for net in NETS.split(",")} <= set(stored.files)


def test_nets_without_a_map_have_none_to_save(visit):
    page = visit(f"#nets={NETS}")
    page.route("**/api/maps*", lambda route: route.abort())
    page.select_option("#method", "rollout")
    page.wait_for_selector(".veil.wrong")
    page.click("#save-maps")
    until(page, "document.getElementById('save-maps').textContent === 'Failed'")
    assert "None of the nets shown has a map to save" in page.text_content("#banner")
    page.click("#save-picture")
    until(page, "document.getElementById('banner').hidden")
    page.complaints[:] = [one for one in page.complaints if "ERR_FAILED" not in one]


def test_what_fails_says_so_and_can_be_tried_again(visit):
    page = visit(f"#nets={NETS}")
    page.route(
        "**/api/maps*resnet*",
        lambda route: route.fulfill(status=422, content_type="application/json", body='{"error": "Out of luck."}'),
    )
    page.check("input[value=ccnet_resnet_mini]")
    page.wait_for_selector("[data-net=ccnet_resnet_mini] .veil.wrong")
    assert "Out of luck." in page.text_content("[data-net=ccnet_resnet_mini] .veil")
    page.unroute("**/api/maps*resnet*")
    page.click("[data-net=ccnet_resnet_mini] .veil button")
    page.wait_for_selector("[data-net=ccnet_resnet_mini] .veil", state="hidden")
    page.complaints[:] = [one for one in page.complaints if "422" not in one]
