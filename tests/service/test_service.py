"""The service with the toy model: answers and errors of its own routes, and many requests at once."""

from __future__ import annotations

import base64
import json
import threading
import time

import pytest
from fixtures_service import LIME, RED, client, error, form, recognizer, serve
from starlette.testclient import TestClient

from anytag.service.addresses import is_public
from anytag.service.app import create_app
from anytag.service.settings import ServiceSettings

# Fixtures, which tests ask for by name.
__all__ = ["client", "recognizer", "serve"]


class TestRoutes:
    def test_tags_are_those_of_the_command_line(self, client, recognizer, tmp_path):
        (tmp_path / "red.png").write_bytes(RED)
        expected = recognizer.tag(tmp_path / "red.png").to_json() | {"path": "red.png"}
        assert client.post("/v1/tag", **form()).json() == expected

    def test_three_ways_to_send_a_picture(self, client):
        tags = client.post("/v1/tag", **form()).json()["tags"]
        raw = client.post("/v1/tag", content=RED, headers={"content-type": "image/png"})
        record = client.post("/v1/tag", json={"picture": base64.b64encode(RED).decode()})
        address = client.post("/v1/tag", json={"picture": "data:image/png;base64," + base64.b64encode(RED).decode()})
        assert tags == raw.json()["tags"] == record.json()["tags"] == address.json()["tags"]

    @pytest.mark.parametrize(
        ("given", "names"), [("a%0Db", ["a", "b"]), ("a%0A%0Db,%22c,d%22", ["a", "b", "c,d"]), ("%00", ["\x00"])]
    )
    def test_lists_in_queries_are_those_of_the_command_line(self, client, given, names):
        """Found by fuzzing: a carriage return in a query was answered with status 500."""
        answer = client.post(f"/v1/tag?threshold=0&categories={given}", **form())
        assert [tag["name"] for tag in answer.json()["tags"]] == names

    def test_a_list_with_an_open_quote_is_refused(self, client):
        answer = client.post("/v1/tag?categories=%22a", **form())
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith("categories: '\"a' is not a comma-separated list")

    def test_options_in_the_query_the_form_and_json(self, client):
        query = client.post("/v1/tag?threshold=0&categories=dog,beach", **form()).json()
        fields = client.post("/v1/tag", **form(), data={"threshold": "0", "categories": "dog,beach"}).json()
        record = {"picture": base64.b64encode(RED).decode(), "threshold": 0, "categories": ["dog", "beach"]}
        assert query["tags"] == fields["tags"] == client.post("/v1/tag", json=record).json()["tags"]
        assert {tag["name"] for tag in query["tags"]} == {"dog", "beach"}

    def test_a_caption_that_speaks_of_tags(self, client):
        seen = client.post("/v1/caption?tags=beach", **form()).json()
        assert (seen["given"], seen["covered"]) == (["beach"], ["beach"])

    def test_a_caption_can_be_guided_by_any_word(self, client):
        seen = client.post("/v1/caption?tags=unicorn", **form()).json()
        assert (seen["given"], seen["covered"]) == (["unicorn"], [])

    def test_where(self, client):
        seen = client.post("/v1/locate?tag=dog", **form()).json()
        assert seen["tag"]["name"] == "dog"
        assert [len(row) for row in seen["grid"]] == [2, 2]

    def test_match(self, client):
        [match] = client.post("/v1/match", **form(), data={"texts": "a hound on a beach"}).json()["matches"]
        assert match["text"] == "a hound on a beach"

    def test_several_pictures_one_of_them_bad(self, client):
        files = [("picture", ("a.png", RED)), ("picture", ("b.txt", b"no picture")), ("picture", ("c.png", LIME))]
        results = client.post("/v1/batch", files=files).json()["results"]
        assert [result["path"] for result in results] == ["a.png", "b.txt", "c.png"]
        assert results[1]["error"]["kind"] == "not_a_picture"
        assert "tags" in results[0]

    def test_the_vocabulary(self, client):
        found = client.get("/v1/tags?search=hound").json()
        assert (found["total"], found["tags"][0]["name"]) == (1, "dog")
        assert client.get("/v1/tags?kind=action").json()["total"] == 1

    def test_health_and_metrics(self, client):
        assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
        client.post("/v1/tag", **form())
        text = client.get("/metrics").text
        assert 'anytag_pictures_total{model="default"} 1.0' in text
        assert 'anytag_requests_total{route="/v1/tag",status="200"} 1.0' in text

    def test_the_page_loads_nothing_from_elsewhere(self, client):
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for part in ("style.css", "app.js", "library.js"):
            assert f"/page/{part}" in page.text
            assert client.get(f"/page/{part}").status_code == 200
        assert client.get("/page/..%2f..%2fsettings.py").status_code == 404

    def test_examples_of_requests_are_requests(self, client):
        """The documented examples can be sent unchanged, and every JSON answer has an example."""
        paths = client.get("/openapi.json").json()["paths"]
        sent = 0
        for route, methods in paths.items():
            for method, described in methods.items():
                answer = described["responses"]["200"].get("content", {}).get("application/json")
                assert answer is None or "example" in answer, (route, method)
                example = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
                if method == "post" and route.startswith("/v1/"):
                    assert client.post(route, json=example).status_code == 200, route
                    sent += 1
        assert sent == 6

    def test_the_openapi_document_names_every_route(self, client):
        document = client.get("/openapi.json").json()
        assert {"/v1/tag", "/v1/caption", "/v1/match", "/v1/locate", "/v1/batch", "/v1/tags", "/v1/search"} <= set(
            document["paths"]
        )
        content = document["paths"]["/v1/tag"]["post"]["requestBody"]["content"]
        assert set(content) == {"multipart/form-data", "application/json", "application/octet-stream"}


class TestRefusals:
    @pytest.mark.parametrize(
        ("route", "request_", "expected"),
        [
            ("/v1/tag", {"content": b"no picture"}, (415, "not_a_picture")),
            ("/v1/tag", {}, (400, "usage")),
            ("/v1/tag", {"content": RED[:50]}, (422, "truncated")),
            ("/v1/tag?threshold=2", {"content": RED}, (400, "usage")),
            ("/v1/tag?color=red", {"content": RED}, (400, "usage")),
            ("/v1/tag", {"json": []}, (400, "usage")),
            ("/v1/tag", {"json": {"picture": "%%%"}}, (400, "usage")),
            ("/v1/tag", {"json": {"picture": 5}}, (400, "usage")),
            ("/v1/tag", {"json": {"url": "http://example.org/a.jpg"}}, (403, "url")),
            ("/v1/tag", {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, (400, "usage")),
            ("/v1/tag", {"content": RED, "headers": {"content-encoding": "gzip"}}, (415, "encoding")),
            ("/v1/tag?model=other", {"content": RED}, (404, "model")),
            ("/v1/caption?num_beams=0", {"content": RED}, (400, "usage")),
            ("/v1/match", {"content": RED}, (400, "usage")),
            ("/v1/locate", {"content": RED}, (400, "usage")),
            ("/v1/nothing", {"content": RED}, (404, "not_found")),
            ("/predict", {"json": {"tasks": 5}}, (400, "usage")),
        ],
    )
    def test_what_is_wrong_is_told(self, client, route, request_, expected):
        assert error(client.post(route, **request_)) == expected

    def test_too_much(self, serve):
        client = serve(max_picture_bytes=60, max_request_bytes=5000, max_pictures=2)
        assert error(client.post("/v1/tag", content=RED)) == (413, "too_large")
        assert error(client.post("/v1/tag", content=b"x" * 5001)) == (413, "too_large")

        def parts():
            for _ in range(100):
                yield b"x" * 100

        assert error(client.post("/v1/tag", content=parts())) == (413, "too_large")
        files = [("picture", (f"{n}.png", RED)) for n in range(3)]
        assert client.post("/v1/batch", files=files).status_code in (400, 413)

    def test_keys(self, serve):
        client = serve(api_keys=("secret", "other"))
        assert error(client.post("/v1/tag", content=RED)) == (401, "key")
        assert error(client.get("/metrics")) == (401, "key")
        assert client.get("/healthz").status_code == client.get("/").status_code == 200
        password = "Basic " + base64.b64encode(b"anybody:secret").decode()  # All that Label Studio can be told.
        for headers in ({"x-api-key": "other"}, {"authorization": "Bearer secret"}, {"authorization": password}):
            assert client.post("/v1/tag", content=RED, headers=headers).status_code == 200
        for wrong in (
            "Basic secret",
            "Basic " + base64.b64encode(b"secret:").decode(),
            "Digest secret",
            "Basic \u00e9",
        ):
            assert client.post("/v1/tag", content=RED, headers={"authorization": wrong.encode()}).status_code == 401
        assert client.post("/v1/tag", content=RED, headers={"x-api-key": "sécret".encode()}).status_code == 401

    def test_other_host_names_are_refused(self, serve):
        client = serve(hosts=("tags.example",))
        for host, status in (("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("tags.example", 200)):
            assert client.get("/healthz", headers={"host": host}).status_code == status
        assert error(client.get("/healthz", headers={"host": "evil.example"})) == (421, "host")

    def test_pages_from_elsewhere(self, serve):
        client = serve(cors=("https://ours.example",))
        answer = client.post("/v1/tag", content=RED, headers={"origin": "https://evil.example"})
        assert error(answer) == (403, "origin")
        assert "access-control-allow-origin" not in answer.headers
        answer = client.post("/v1/tag", content=RED, headers={"origin": "https://ours.example"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://ours.example")
        assert client.post("/v1/tag", content=RED, headers={"origin": "http://localhost"}).status_code == 200

    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
            "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
            "2002:7f00:1::", "64:ff9b::7f00:1", "ff02::1", "nonsense",
        ],
    )  # fmt: skip
    def test_addresses_that_are_not_public(self, address):
        assert not is_public(address)

    def test_addresses_that_are(self):
        assert is_public("93.184.216.34")
        assert is_public("2606:2800:220:1:248:1893:25c8:1946")

    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            ("http://localhost:1/a.jpg", (403, "url")),
            ("http://127.0.0.1/a.jpg", (403, "url")),
            ("http://2130706433/a.jpg", (403, "url")),
            ("file:///etc/passwd", (400, "url")),
            ("http://user:word@example.org/a.jpg", (400, "url")),
            ("http://[::1/a.jpg", (400, "url")),
            ("", (400, "url")),
        ],
    )
    def test_addresses_into_this_machine(self, serve, address, expected):
        client = serve(allow_urls=True)
        assert error(client.post("/v1/tag", json={"url": address})) == expected


class TestLoad:
    def test_pictures_of_many_requests_are_recognized_together(self, serve, recognizer):
        sizes = []
        encode = recognizer.backend.encode

        def counting(pixels):
            sizes.append(len(pixels))
            return encode(pixels)

        recognizer.backend.encode, recognizer.batch_size = counting, 8
        client = serve(batch_wait=0.5)
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/v1/tag", **form()).status_code))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [200] * 8
        assert len(sizes) < 8

    def test_a_full_queue_and_a_request_that_takes_too_long(self, serve, recognizer):
        release = threading.Event()
        encode = recognizer.backend.encode

        entered = threading.Event()

        def waiting(pixels):
            entered.set()
            release.wait(30)
            return encode(pixels)

        recognizer.backend.encode = waiting
        client = serve(queue=1, batch_size=1, timeout=3.0)
        first = threading.Thread(target=lambda: client.post("/v1/tag", **form()))
        first.start()
        entered.wait(30)
        second = threading.Thread(target=lambda: client.post("/v1/tag", **form()))
        second.start()
        while not client.app.state.pool.waiting()["default"]:
            time.sleep(0.01)
        answer = client.post("/v1/tag", **form())
        assert error(answer) == (429, "overloaded")
        assert answer.headers["retry-after"] == "1"
        assert error(client.get("/readyz")) == (503, "overloaded")
        second.join()
        release.set()
        first.join()
        assert client.post("/v1/tag", **form()).status_code == 200

    def test_models_load_on_demand_and_unload_when_idle(self, serve, recognizer):
        loads = []

        def load(place, threads):
            loads.append(place)
            return recognizer

        client = serve(load, models={"first": "a", "second": None}, idle_unload=0.2)
        assert loads == []
        for model in (None, "default", "first"):
            assert client.post("/v1/tag", params={"model": model} if model else {}, content=RED).status_code == 200
        assert loads == ["a"]
        assert client.get("/v1/models").json()["models"] == [
            {"name": "first", "loaded": True}, {"name": "second", "loaded": False},
        ]  # fmt: skip
        time.sleep(0.6)
        assert not client.get("/v1/models").json()["models"][0]["loaded"]
        client.post("/v1/tag", content=RED)
        assert loads == ["a", "a"]

    def test_an_unexpected_error_reveals_nothing_and_stops_nothing(self, recognizer):
        def broken(pixels):
            raise RuntimeError("/secret/path")

        encode, recognizer.backend.encode = recognizer.backend.encode, broken
        app = create_app(ServiceSettings(), lambda place, threads: recognizer)
        with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
            answer = client.post("/v1/tag", content=RED)
            assert error(answer) == (500, "internal")
            assert "secret" not in answer.text
            recognizer.backend.encode = encode
            assert client.post("/v1/tag", content=RED).status_code == 200


def test_log_lines_are_json_without_pictures(client, caplog):
    caplog.set_level("INFO", logger="anytag.service")
    client.post("/v1/tag", **form(), headers={"x-request-id": "my-1"})
    record = json.loads(caplog.records[-1].message)
    assert (record["request"], record["path"], record["status"]) == ("my-1", "/v1/tag", 200)
    assert "red.png" not in caplog.records[-1].message
