"""Malicious requests, sent to a real server byte by byte, and misleading addresses."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import socket
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fixtures_browser import Server
from fixtures_toy import plain, toy_recognizer

from anytag.service import addresses


def png(color):
    out = io.BytesIO()
    plain(color).save(out, "PNG")
    return out.getvalue()


RED = png("red")


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    return toy_recognizer(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture(scope="module")
def server(recognizer):
    running = Server(recognizer, allow_urls=True, max_request_bytes=2_000_000, max_pixels=1_000_000)
    yield running
    running.stop()


def send(server, *lines, body=b"", path="/v1/tag", method="POST", host="localhost"):
    """Send a raw request, and return everything that the server answers."""
    head = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *lines]
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while part := connection.recv(1 << 16):
                answer += part
                connection.settimeout(0.3)
    return answer


def statuses(answer):
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def post(server, record=None, path="/v1/tag", raw=None):
    body = json.dumps(record).encode() if raw is None else raw
    answer = send(
        server,
        f"Content-Length: {len(body)}",
        "Content-Type: application/json",
        "Connection: close",
        body=body,
        path=path,
    )
    [status] = statuses(answer)
    return status, json.loads(answer.partition(b"\r\n\r\n")[2])


class TestSmuggling:
    """A second request hidden in the body of a first is never answered."""

    HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"

    @pytest.mark.parametrize(
        "lines",
        [
            ("Content-Length: 4", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", "Content-Length: 4"),
            ("Content-Length: 5", "Content-Length: 6"),
            ("Content-Length: 5, 6",),
            ("Content-Length: +5",),
            ("Content-Length: -1",),
            ("Content-Length: 0x5",),
            ("Content-Length: 5 5",),
            ("Content-Length : 5",),
            ("Transfer-Encoding: chunked, identity",),
            ("Transfer-Encoding: xchunked",),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
            ("Transfer-Encoding:\x0bchunked",),
            (" Transfer-Encoding: chunked",),
            ("X: a\rTransfer-Encoding: chunked",),
            ("X: a\0b",),
        ],
    )
    def test_a_body_whose_end_is_in_doubt(self, server, lines):
        answer = send(server, *lines, body=b"0\r\n\r\n" + self.HIDDEN)
        assert statuses(answer)[0] in (400, 421, 501)
        assert all(status >= 400 for status in statuses(answer))
        assert b'"models"' not in answer

    @pytest.mark.parametrize("body", [b"zz\r\n", b"-5\r\nhello\r\n", b"5\nhello\n0\n\n"])
    def test_malformed_parts(self, server, body):
        assert b'"models"' not in send(server, "Transfer-Encoding: chunked", body=body + self.HIDDEN)

    def test_hosts(self, server):
        assert statuses(send(server, "Host: evil.example", method="GET", path="/healthz"))[0] == 400
        assert statuses(send(server, method="GET", path="/healthz", host=None))[0] == 400
        wrong = ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[", "[::1", "", "a@localhost")
        for host in wrong:
            answer = send(server, method="GET", path="/healthz", host=host)
            assert statuses(answer)[0] in (400, 421), host

    def test_headers_without_end(self, server):
        answer = send(server, "X: " + "a" * 200_000, method="GET", path="/healthz")
        assert statuses(answer) in ([400], [431])
        assert statuses(send(server, method="GET", path="/healthz")) == [200]


class TestBodies:
    def test_a_compressed_bomb_is_not_unpacked(self, server):
        bomb = gzip.compress(bytes(200_000_000), 9)
        for path in ("/v1/tag", "/predict", "/api/v1/vision/labels"):
            answer = send(
                server, f"Content-Length: {len(bomb)}", "Content-Encoding: gzip", "Content-Type: application/json",
                body=bomb, path=path,
            )  # fmt: skip
            assert statuses(answer)[0] in (400, 415), path

    def test_a_picture_of_too_many_pixels_is_not_decoded(self, server):
        """A PNG of 40,000 by 40,000 pixels in a few bytes."""
        size = (40_000).to_bytes(4, "big")
        parts = ((b"IHDR", size + size + b"\x08\x02\0\0\0"), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
        bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
            len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
            for name, data in parts
        )
        status, record = post(server, {"picture": base64.b64encode(bomb).decode()})
        assert (status, record["error"]["kind"]) == (413, "too_large")
        # Below Pillow's own limit, and above the service's.
        out = io.BytesIO()
        plain("red", (1001, 1000)).save(out, "PNG")
        status, record = post(server, {"picture": base64.b64encode(out.getvalue()).decode()})
        assert (status, record["error"]["kind"]) == (413, "too_large")

    @pytest.mark.parametrize("path", ["/v1/tag", "/v1/batch", "/predict", "/api/v1/vision/labels"])
    @pytest.mark.parametrize(
        "raw",
        [
            b"[" * 200_000,
            b'{"a":' * 200_000,
            b'{"picture": ' + b"9" * 10_000 + b"}",
            b'{"threshold": NaN, "picture": "' + base64.b64encode(RED) + b'"}',
            b'{"threshold": 1e999, "picture": "' + base64.b64encode(RED) + b'"}',
            b'{"top": 1e30, "picture": "' + base64.b64encode(RED) + b'"}',
            b"\xff\xfe{\0",
            b"null",
            b"",
        ],
        ids=range(9),
    )
    def test_json_that_is_none(self, server, path, raw):
        status, record = post(server, raw=raw, path=path)
        assert status == 400
        if path == "/api/v1/vision/labels":  # As PhotoPrism reads it.
            assert (record["code"], record["result"]) == (400, {})
            assert record["error"]
        else:
            assert record["error"]["kind"] == "usage"

    @pytest.mark.parametrize(
        ("path", "options"),
        [
            ("/v1/tag", {"categories": ["\ud800", "a\0b"]}),
            ("/v1/tag", {"categories": ["x" * 100_000]}),
            ("/v1/caption", {"tags": ["\udcff"]}),
            ("/v1/match", {"texts": ["\ud800"]}),
            ("/v1/locate", {"tag": "\ud800"}),
            ("/v1/tag", {"model": "\ud800"}),
            ("/v1/tag", {"\ud800": 1}),
            ("/v1/tag", {"top": 10**18}),
        ],
    )
    def test_texts_that_are_none(self, server, path, options):
        status, record = post(server, {"picture": base64.b64encode(RED).decode(), **options}, path)
        assert status in (200, 400, 404), record

    def test_too_much_json(self, server):
        status, record = post(server, {"picture": "A" * 2_000_000})
        assert (status, record["error"]["kind"]) == (413, "too_large")


class Elsewhere(BaseHTTPRequestHandler):
    """A server in the public network, as far as the service knows."""

    seen: list[str] = []  # noqa: RUF012

    def do_GET(self):
        self.seen.append(f"{self.headers['Host']}{self.path}")
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(RED)))
            self.end_headers()
            self.wfile.write(RED)

    def log_message(self, *_):
        pass


@pytest.fixture
def elsewhere(monkeypatch):
    """A small internet: ``names`` lists the addresses that each name resolves to, one list per query."""
    public = "93.184.216.34"
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    names, asked, connected = {"public.example": [[public]]}, [], []
    Elsewhere.seen.clear()
    connect = socket.create_connection

    def getaddrinfo(host, port, *_, **__):
        asked.append(host)
        answers = names.get(host, [[host]])
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    def create_connection(place, *rest, **options):
        connected.append(place[0])
        assert place[0] == public, f"a connection to {place[0]}"
        return connect(("127.0.0.1", httpd.server_port), *rest, **options)

    class Sockets:
        SOCK_STREAM = socket.SOCK_STREAM

    Sockets.getaddrinfo, Sockets.create_connection = staticmethod(getaddrinfo), staticmethod(create_connection)
    monkeypatch.setattr(addresses, "socket", Sockets)
    yield names, asked, connected
    httpd.shutdown()
    httpd.server_close()


class TestAddresses:
    def test_a_public_picture_is_fetched(self, server, elsewhere):
        status, record = post(server, {"url": "http://public.example/a.png"})
        assert (status, [tag["name"] for tag in record["tags"]]) == (200, ["red", "animal", "dog"])
        assert Elsewhere.seen == ["public.example/a.png"]

    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            ("http://127.0.0.1/secret", 403),
            ("http://169.254.169.254/latest/meta-data", 403),
            ("http://[::1]/secret", 403),
            ("http://[::ffff:127.0.0.1]/secret", 403),
            ("http://10.0.0.1:22/", 403),
            ("//192.168.1.1/router", 403),
            ("file:///etc/passwd", 400),
            ("gopher://public.example/1", 400),
            ("http://name:word@public.example/a.png", 400),
            ("/to//to//to//to/x", 422),
        ],
    )
    def test_where_a_public_server_sends_us(self, server, elsewhere, target, expected):
        _, _, connected = elsewhere
        status, record = post(server, {"url": f"http://public.example/to/{target}"})
        assert (status, record["error"]["kind"]) == (expected, "url")
        assert set(connected) == {"93.184.216.34"}

    def test_a_name_that_changes_its_answer(self, server, elsewhere):
        """Public when checked, private afterwards: it is resolved once, and only the checked address is used."""
        names, asked, connected = elsewhere
        names["rebind.example"] = [["93.184.216.34"], ["127.0.0.1"]]
        status, _ = post(server, {"url": "http://rebind.example/a.png"})
        assert (status, asked, connected) == (200, ["rebind.example"], ["93.184.216.34"])
        status, record = post(server, {"url": "http://rebind.example/a.png"})
        assert (status, record["error"]["kind"]) == (403, "url")

    def test_a_name_that_changes_its_answer_between_redirects(self, server, elsewhere):
        names, _, connected = elsewhere
        names["rebind.example"] = [["93.184.216.34"], ["10.0.0.1"]]
        status, record = post(server, {"url": "http://rebind.example/to/http://rebind.example/secret"})
        assert (status, record["error"]["kind"]) == (403, "url")
        assert connected == ["93.184.216.34"]

    def test_a_name_with_a_private_address_among_public_ones(self, server, elsewhere):
        names, _, connected = elsewhere
        names["both.example"] = [["93.184.216.34", "127.0.0.1"]]
        status, _ = post(server, {"url": "http://both.example/a.png"})
        assert (status, connected) == (403, [])

    @pytest.mark.parametrize(
        "address", ["http://public.example/a b", "http://public.example/a\r\nX: y", "http://pub\0lic/"]
    )
    def test_addresses_with_more_in_them(self, server, elsewhere, address):
        status, record = post(server, {"url": address})
        assert status in (200, 400, 403, 422), record
        assert not any("X: y" in seen for seen in Elsewhere.seen)


@pytest.mark.parametrize("path", ["/v1/tag", "/predict", "/api/v1/vision/labels"])
def test_a_body_that_never_ends(recognizer, path):
    running = Server(recognizer, timeout=0.3)
    answer = send(running, "Content-Length: 100", body=b"x", path=path)
    running.stop()
    assert statuses(answer) == [408]
    assert b"was not sent within 0.3 seconds" in answer
    assert b"\r\nconnection: close\r\n" in answer.lower()  # Never read the rest as another request.
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["kind"] == "timeout"


def test_a_disconnected_client_is_not_a_server_error(server, caplog):
    caplog.set_level("INFO", logger="anytag.service")
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(b"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx")
    end = time.monotonic() + 10
    while not caplog.records and time.monotonic() < end:
        time.sleep(0.01)
    assert json.loads(caplog.records[-1].message)["status"] == 499


def test_pictures_never_touch_the_disk(server, monkeypatch):
    """Not even large ones in forms, which are usually stored in temporary files."""

    def touched(*_, **__):
        raise AssertionError("a file was begun")

    monkeypatch.setattr("tempfile.TemporaryFile", touched)
    body = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n'
    body += RED + bytes(1_500_000) + b"\r\n--x--\r\n"
    answer = send(server, f"Content-Length: {len(body)}", "Content-Type: multipart/form-data; boundary=x", body=body)
    assert statuses(answer) == [200]


def test_it_still_works_after_all_that(server):
    status, _ = post(server, {"picture": base64.b64encode(RED).decode()})
    assert status == 200
