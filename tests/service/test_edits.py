"""Edits of tags over HTTP: only where allowed, only from the service's own page, and never over another edit."""

from __future__ import annotations

import errno
import os

import pytest
from fixtures_toy import plain, toy_recognizer

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from anytag.library.photo_library import Library
from anytag.service.app import create_app
from anytag.service.settings import ServiceSettings


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    plain("red").save(folder / "red.png")
    plain("lime").save(os.fsencode(folder) + b"/\xe9t\xe9.png")
    Library(folder, toy_recognizer(tmp_path / "toy")).update()
    return folder


def served(photos, **settings):
    app = create_app(ServiceSettings(library=photos, **settings), lambda place, threads: None)
    return TestClient(app, base_url="http://localhost")


@pytest.fixture
def client(photos):
    return served(photos, allow_edits=True)


def route(client, query="red"):
    [hit] = client.get("/v1/search", params={"q": f"path:{query}"}).json()["hits"]
    return f"/v1/library/{hit['id']}/tags"


def error(answer):
    return answer.status_code, answer.json()["error"]["kind"]


def test_reading_and_writing(client, photos):
    before = client.get(route(client)).json()
    assert [(tag["name"], tag["refused"]) for tag in before["tags"]] == [
        ("red", False), ("animal", False), ("dog", False),
    ]  # fmt: skip
    assert (before["people"], before["sidecar"], before["revision"], before["editable"]) == ([], None, "", True)
    asked = {"people": ["Grandma"], "refused": ["dog"], "revision": before["revision"]}
    after = client.put(route(client), json=asked).json()
    assert after == client.get(route(client)).json()
    assert (after["people"], [tag["refused"] for tag in after["tags"]]) == (["Grandma"], [False, False, True])
    assert after["sidecar"] == str(photos / "red.png.xmp")
    text = (photos / "red.png.xmp").read_text()
    assert "Grandma" in text
    # The service's model is another one than the index's: it does not say what is above the index's tags.
    assert "|" not in text
    found = client.get("/v1/search", params={"q": "grandma", "facets": 5}).json()
    assert found["hits"][0]["reasons"] == [{"name": "Grandma", "score": 1.0, "where": "people"}]
    assert {"name": "Grandma", "count": 1} in found["facets"]
    assert client.get("/v1/search", params={"q": "dog"}).json()["total"] == 0


def test_who_was_second_is_told(client, photos):
    client.put(route(client), json={"people": ["Grandma"], "revision": ""})
    answer = client.put(route(client), json={"people": [], "revision": ""})
    assert error(answer) == (409, "sidecar")
    assert "was changed by somebody else" in answer.json()["error"]["message"]
    assert client.get(route(client)).json()["people"] == ["Grandma"]


def test_only_where_it_is_allowed(photos):
    client = served(photos)
    assert client.get(route(client)).json()["editable"] is False
    assert error(client.put(route(client), json={"people": ["x"]})) == (403, "edits")
    assert not list(photos.glob("*.xmp"))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"json": {}}, (400, "usage")),
        ({"json": []}, (400, "usage")),
        ({"json": {"people": "Grandma"}}, (400, "usage")),
        ({"json": {"people": [5]}}, (400, "usage")),
        ({"json": {"people": [" "]}}, (400, "usage")),
        ({"json": {"people": ["a\u0000b"]}}, (400, "usage")),
        ({"json": {"people": ["x"], "path": "/etc/passwd"}}, (400, "usage")),
        ({"json": {"people": ["x"] * 501}}, (400, "usage")),
        ({"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, (400, "usage")),
        # What a form on a page elsewhere can send without asking first.
        ({"content": b'{"people": ["x"]}', "headers": {"content-type": "text/plain"}}, (415, "usage")),
        ({"data": {"people": "x"}}, (415, "usage")),
        ({"content": b'{"people": ["x"]}'}, (415, "usage")),
    ],
)
def test_what_is_wrong_is_told(client, photos, request_, expected):
    assert error(client.put(route(client), **request_)) == expected
    assert not list(photos.glob("*.xmp"))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"origin": "https://cors.example", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_from_elsewhere_change_nothing(photos, headers):
    client = served(photos, allow_edits=True, cors=("https://cors.example",))
    answer = client.put(route(client), json={"people": ["x"]}, headers=headers)
    assert error(answer) == (403, "origin")
    assert not list(photos.glob("*.xmp"))
    # They may not even ask whether they might.
    asked = client.options(route(client), headers={**headers, "access-control-request-method": "PUT"})
    assert "access-control-allow-methods" not in asked.headers


def test_our_own_page_may(client):
    headers = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
    assert client.put(route(client), json={"people": ["x"]}, headers=headers).status_code == 200


@pytest.mark.parametrize("number", ["999", "-1", str(1 << 63), "9" * 40, "0"])
@pytest.mark.parametrize("what", ["tags", "thumbnail"])
def test_photos_that_are_not_there(client, number, what):
    assert error(client.get(f"/v1/library/{number}/{what}")) == (404, "not_found")
    if what == "tags":
        assert error(client.put(f"/v1/library/{number}/tags", json={"people": []})) == (404, "not_found")


@pytest.mark.parametrize("number", ["../1", "..%2f..%2fetc%2fpasswd", "1%00", "%2e%2e", "1;x", "red.png", "1/../../x"])
@pytest.mark.parametrize("what", ["tags", "thumbnail"])
def test_paths_are_no_numbers(client, photos, number, what):
    for method in ("GET", "PUT"):
        answer = client.request(method, f"/v1/library/{number}/{what}", json={"people": ["x"]})
        assert answer.status_code in (400, 404, 405)
        assert "root:" not in answer.text
    assert not list(photos.glob("*.xmp"))


def test_names_that_are_no_text(client):
    """A photo whose name is not UTF-8 is found, shown and edited like any other."""
    hits = client.get("/v1/search", params={"q": "beach"}).json()["hits"]
    assert os.fsencode(hits[0]["path"]).endswith(b"/\xe9t\xe9.png")
    answer = client.put(f"/v1/library/{hits[0]['id']}/tags", json={"people": ["été"]})
    assert os.fsencode(answer.json()["sidecar"]).endswith(b"/\xe9t\xe9.png.xmp")


def test_files_of_others_are_left_alone(client, photos):
    (photos / "red.png.xmp").write_text("no xmp")
    assert error(client.put(route(client), json={"people": ["x"]})) == (409, "xmp")
    assert (photos / "red.png.xmp").read_text() == "no xmp"


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, (507, "disk")), (errno.EACCES, (403, "permission"))])
def test_a_full_or_closed_disk(client, photos, monkeypatch, number, expected):
    client.put(route(client), json={"people": ["Grandma"]})
    before = (photos / "red.png.xmp").read_bytes()

    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("anytag.library.people.replace_file", fails)
    assert error(client.put(route(client), json={"people": ["Grandpa"]})) == expected
    assert (photos / "red.png.xmp").read_bytes() == before


def test_a_photo_that_is_gone(client, photos):
    there = route(client)
    (photos / "red.png").unlink()
    assert error(client.put(there, json={"people": ["x"]})) == (409, "sidecar")
