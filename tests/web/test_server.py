"""The server: what it answers, to whom, and what it refuses. Every refusal is JSON with a sentence."""

import io
import json

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sightline.data import UnreadableImage, read_image
from sightline.web import Limits, create_app, examples
from tests.web import hostile
from tests.web.conftest import BASE, MODELS, encoded, visiting

PNG = {"content-type": "image/png"}


def refused(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]
    return answer.json()["error"]


# ------------------------------------------------------------------ what it answers


def test_the_page_and_its_parts_come_with_strict_headers(client):
    for path in ("/", "/static/main.js", "/static/page.css", "/static/icon.svg", "/api/start"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers


def test_nothing_of_the_page_lies_elsewhere_or_inline(client):
    page = client.get("/").text
    assert "://" not in page
    assert "<script>" not in page
    assert "style=" not in page
    assert " on" + "click" not in page


def test_start_tells_of_nets_methods_and_pictures(client, nets):
    told = client.get("/api/start").json()
    assert [net["name"] for net in told["nets"]] == list(MODELS)
    convolution, recurrent = told["nets"][0], told["nets"][1]
    assert convolution["layers"] == []
    assert not convolution["trained"]
    assert [layer["title"].partition(", ")[2] for layer in recurrent["layers"]] == ["pass 1", "pass 2", "all 2 passes"]
    assert recurrent["first"] == 2
    attention = told["methods"][0]
    assert attention["name"] == "attention"
    assert attention["not_for"] == ["resnet_mini"]
    part = nets["sasa_resnet_mini"].meta.crop  # of the largest square in the middle of 48 x 72 pixels
    expected = [(1 - part) / 2, (72 - 48 * part) / 144, (1 + part) / 2, (72 + 48 * part) / 144]
    assert told["pictures"][0]["boxes"]["sasa_resnet_mini"] == pytest.approx(expected)


def test_an_uploaded_picture_is_seen_as_predict_sees_it(client, nets):
    sent = encoded("JPEG", 300, 500)
    taken = client.post("/api/pictures", content=sent, headers={"content-type": "image/jpeg"}).json()
    assert (taken["height"], taken["width"]) == (300, 500)
    shown = Image.open(io.BytesIO(client.get(f"/api/pictures/{taken['name']}").content))
    assert shown.size == (500, 300)
    net = nets["sasa_resnet_mini"]
    expected = read_image(sent, net.meta.image_size, view=net.eye.view)
    house_picture = client.get("/api/predictions", params={"picture": taken["name"], "net": net.name}).json()["classes"]
    from sightline.web.maps import predict

    assert house_picture[0]["probability"] == pytest.approx(predict(net, expected)[0][1], abs=1e-6)
    assert len({one["class"] for one in house_picture}) == len(house_picture)
    assert client.get("/api/start").json()["pictures"][-1]["name"] == taken["name"]


def test_maps_are_computed_once_and_kept(client, monkeypatch):
    import sightline.web.house as house

    calls, real = [], house.look_by
    monkeypatch.setattr(house, "look_by", lambda *given: calls.append(given) or real(*given))
    asked = {"picture": "example-1", "net": "sasa_resnet_mini", "layer": 0}
    first, second = client.get("/api/maps", params=asked), client.get("/api/maps", params=asked)
    assert first.status_code == 200
    assert first.content == second.content
    assert len(calls) == 1


def test_data_come_as_exact_numbers(client, nets):
    looks = [
        {"net": "sasa_resnet_mini", "layer": 1, "head": "mean", "query": 5},
        {"net": "deit_mini_distilled", "query": 2},
    ]
    asked = {"kind": "json", "picture": "example-1", "looks": looks}
    told = client.post("/api/data", content=json.dumps(asked)).json()["looks"]
    asked["kind"] = "npz"
    stored = np.load(io.BytesIO(client.post("/api/data", content=json.dumps(asked)).content), allow_pickle=False)
    for one in told:
        weights, numbers = stored[f"{one['net']}/weights"], stored[f"{one['net']}/numbers"]
        query = one["query"]
        assert one["numbers"]["largest"] == pytest.approx(float(numbers[0, query, 0]))
        assert np.sum(one["map"]) == pytest.approx(float(weights[0, query].sum()), rel=1e-5)
        assert np.shape(one["map"]) == tuple(one["key_grid"])
    about = json.loads(str(stored["about"]))
    assert about["deit_mini_distilled"]["tokens"] == ["class", "distillation"]


# ------------------------------------------------------------------ what it refuses


@pytest.mark.parametrize("name", hostile.files())
def test_hostile_and_odd_files(client, name):
    kind, content, expected = hostile.files()[name]
    answer = client.post("/api/pictures", content=content, headers={"content-type": kind})
    assert answer.status_code in expected, answer.text
    if answer.status_code != 200:
        refused(answer, answer.status_code)
        return
    shown = client.get(f"/api/pictures/{answer.json()['name']}")
    assert shown.headers["content-type"] == "image/png"
    assert b"<script" not in shown.content
    assert b"PK\x03\x04" not in shown.content
    assert Image.open(io.BytesIO(shown.content)).info.get("exif") is None


def test_a_picture_on_its_side_is_put_upright(client):
    answer = client.post("/api/pictures", content=hostile.jpeg_on_its_side(), headers={"content-type": "image/jpeg"})
    assert (answer.json()["height"], answer.json()["width"]) == (50, 30)


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_is_cut_off_at_its_limit(nets, shown, announced):
    with visiting(nets, shown, Limits(upload_bytes=5000)) as client:
        given = []

        def parts():
            for _ in range(100):
                given.append(1)
                yield b"\x89PNG" * 250

        content = b"".join(parts()) if announced else parts()
        refused(client.post("/api/pictures", content=content, headers=PNG), 413)
        small = encoded("PNG", 8, 8)
        assert client.post("/api/pictures", content=small, headers=PNG).status_code == 200


def test_wrong_questions_get_sentences(client):
    good = {"picture": "example-1", "net": "sasa_resnet_mini", "layer": 0}
    for change, status in (
        ({"net": "nobody"}, 404),
        ({"picture": "../../etc/passwd"}, 404),
        ({"layer": 99}, 404),
        ({"layer": -1}, 422),
        ({"layer": "one"}, 422),
        ({"head": "77"}, 404),
        ({"method": "magic"}, 404),
        ({"net": "resnet_mini"}, 422),
        ({"picture": "x" * 300}, 422),
    ):
        refused(client.get("/api/maps", params=good | change), status)
    for body in (b"", b"[]", b"{", b'{"kind":"exe","picture":"example-1","looks":[]}', b"[" * 50000):
        refused(client.post("/api/data", content=body), 422)
    refused(client.post("/api/data", content=b" " * 70000), 413)
    look = {"net": "sasa_resnet_mini", "layer": True}
    refused(client.post("/api/data", json={"kind": "npz", "picture": "example-1", "looks": [look]}), 422)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/app.py",
        "/static//etc/passwd",
        "/static/index.html%00.js",
        "/api/pictures/..%2f..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_path_reaches_the_disk(client, path):
    refused(client.get(path), 404)


def test_other_verbs_are_refused(client):
    refused(client.put("/api/pictures", content=b"x"), 405)
    refused(client.delete("/"), 405)


def test_without_a_session_nothing_is_told(nets, shown):
    with TestClient(create_app(nets, shown), base_url=BASE) as stranger:
        for path in ("/api/start", "/api/pictures/example-1", "/api/maps?picture=example-1&net=sasa_resnet_mini"):
            refused(stranger.get(path), 401)
        refused(stranger.post("/api/pictures", content=encoded(), headers=PNG), 401)


def test_one_visitor_can_not_see_anothers_picture(nets, shown):
    app = create_app(nets, shown)
    with TestClient(app, base_url=BASE) as one, TestClient(app, base_url=BASE) as two:
        one.get("/"), two.get("/")
        name = one.post("/api/pictures", content=encoded(), headers=PNG).json()["name"]
        assert one.get(f"/api/pictures/{name}").status_code == 200
        refused(two.get(f"/api/pictures/{name}"), 404)
        one.post("/api/forget")
        refused(one.get(f"/api/pictures/{name}"), 401)


# ------------------------------------------------------------------ who may ask


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""])
def test_a_rebound_name_is_refused(client, host):
    refused(client.get("/", headers={"host": host}), 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "192.168.1.7"])
def test_names_of_this_machine_are_answered(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


def test_further_names_are_answered_when_allowed(nets, shown):
    with TestClient(create_app(nets, shown, names=["Lab.example"]), base_url="http://lab.example") as client:
        assert client.get("/").status_code == 200


def test_other_sites_are_refused(client):
    refused(client.post("/api/forget", headers={"origin": "http://evil.example"}), 403)
    refused(client.post("/api/forget", headers={"origin": "null"}), 403)
    refused(client.get("/api/start", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}), 403)
    assert client.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200
    assert client.post("/api/forget", headers={"origin": BASE}).status_code == 204


def test_beyond_loopback_a_key_is_needed_once(nets, shown):
    app = create_app(nets, shown, host="0.0.0.0")
    assert len(app.key) >= 32
    with TestClient(app, base_url=BASE, follow_redirects=False) as client:
        for path in ("/", "/?key=", "/?key=wrong", f"/?key={app.key}x", "/static/main.js", f"/api/start?key={app.key}"):
            refused(client.get(path), 401)
        refused(client.post("/api/pictures", content=encoded(), headers=PNG), 401)
        answer = client.get(f"/?key={app.key}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite" in cookie
        assert client.get("/").status_code == 200
        assert client.get("/api/start").status_code == 200
        name = cookie.partition("=")[0]
        client.cookies.clear()
        refused(client.get("/", headers={"cookie": f"{name}=wrong"}), 401)
        for others in ('theirs={"a": 1}; ', "no form; ", "a[b]=c d; "):  # of other servers on this host
            assert client.get("/", headers={"cookie": others + cookie.partition(";")[0]}).status_code == 200


OPEN = {
    "127.0.0.1": True,
    "::1": True,
    "localhost": True,
    "0.0.0.0": False,
    "::": False,
    "10.0.0.1": False,
    "lab": False,
}


@pytest.mark.parametrize(("host", "open_to_all"), OPEN.items())
def test_only_loopback_goes_without_a_key(nets, shown, host, open_to_all):
    assert (create_app(nets, shown, host=host).key == "") == open_to_all


# ------------------------------------------------------------------ how long, how much


def test_what_takes_too_long_is_given_up(nets, shown, monkeypatch):
    import threading

    import sightline.web.house as house

    gate = threading.Event()
    monkeypatch.setattr(house, "look_by", lambda *_: gate.wait(10))
    with visiting(nets, shown, Limits(seconds=0.1)) as client:
        answer = client.get("/api/maps", params={"picture": "example-1", "net": "sasa_resnet_mini"})
        gate.set()
        refused(answer, 503)
        assert answer.headers["retry-after"]


def test_a_full_queue_says_when_to_come_back(nets, shown):
    with visiting(nets, shown, Limits(waiting=0)) as client:
        answer = client.get("/api/maps", params={"picture": "example-1", "net": "sasa_resnet_mini"})
        refused(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1


def test_pictures_are_bounded(nets, shown):
    with visiting(nets, shown, Limits(pictures_each=2)) as client:
        names = [client.post("/api/pictures", content=encoded(), headers=PNG).json()["name"] for _ in range(3)]
        refused(client.get(f"/api/pictures/{names[0]}"), 404)
        assert client.get(f"/api/pictures/{names[2]}").status_code == 200


# ------------------------------------------------------------------ example pictures


def test_a_damaged_picture_is_passed_over_in_a_folder_and_named_by_itself(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="no picture that can be read lies in the folder"):
        examples((), [str(tmp_path)])
    (tmp_path / "b.png").write_bytes(encoded())
    assert next(iter(examples((), [str(tmp_path)]).values())).title == "b"
    with pytest.raises(UnreadableImage, match=r"a\.png: not a picture"):
        examples((), [str(tmp_path / "a.png")])
