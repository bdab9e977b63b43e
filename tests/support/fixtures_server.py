"""A server on this machine that stands in for the hub: it serves files, and misbehaves on request."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from anytag.checkpoints import official


def etag_of(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    status: int


@dataclass
class StandIn:
    """Serves ``files``; each request to a path first uses up one of its ``answers``."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[Callable]] = field(default_factory=lambda: defaultdict(list))
    requests: list[Request] = field(default_factory=list)

    def of(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        stand_in = self.server.stand_in
        answers = stand_in.answers[self.path]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # The client went away, or was killed.
            (answers.pop(0) if answers else whole)(self, stand_in.files.get(self.path))

    def start(self, status: int, length: int | None, **headers: str) -> None:
        """Note the request, and begin the answer."""
        self.server.stand_in.requests.append(Request(self.path, dict(self.headers), status))
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    stand_in: StandIn

    def handle_error(self, *_: object) -> None:
        pass


def whole(handler: Handler, content: bytes | None, ranges: bool = True, **headers: str) -> None:
    """What a good server does, or one without ranges."""
    if content is None:
        return handler.start(404, 0)
    headers = {"ETag": etag_of(content), **headers}
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if asked and ranges and handler.headers.get("If-Range") == headers["ETag"]:
        begin = int(asked[1])
        if begin >= len(content):
            return handler.start(416, 0, Content_Range=f"bytes */{len(content)}")
        rest = content[begin:]
        handler.start(206, len(rest), Content_Range=f"bytes {begin}-{len(content) - 1}/{len(content)}", **headers)
        handler.wfile.write(rest)
    else:
        handler.start(200, len(content), **headers)
        handler.wfile.write(content)
    return None


def without_ranges(handler: Handler, content: bytes) -> None:
    whole(handler, content, ranges=False)


def weakly_tagged(handler: Handler, content: bytes) -> None:
    whole(handler, content, ETag="W/" + etag_of(content))


def broken_off(after: int, **headers: str) -> Callable:
    """Announces everything, sends a part and closes the connection."""

    def answer(handler: Handler, content: bytes) -> None:
        handler.start(200, len(content), **{"ETag": etag_of(content), **headers})
        handler.wfile.write(content[:after])
        handler.wfile.flush()
        handler.close_connection = True

    return answer


def trickling(first: int, pause: float) -> Callable:
    """Sends the first bytes at once and the rest bit by bit."""

    def answer(handler: Handler, content: bytes) -> None:
        handler.start(200, len(content), ETag=etag_of(content))
        handler.wfile.write(content[:first])
        for begin in range(first, len(content), 1000):
            time.sleep(pause)
            handler.wfile.write(content[begin : begin + 1000])

    return answer


def silent(seconds: float) -> Callable:
    """Says nothing for a while."""
    return lambda handler, content: time.sleep(seconds)


def status(code: int, **headers: str) -> Callable:
    """An answer without content."""
    return lambda handler, content: handler.start(code, 0, **headers)


def redirect(url: str, code: int = 302) -> Callable:
    return status(code, Location=url)


@pytest.fixture
def serve():
    """Starts stand-in servers; each has its own port, and so counts as another host."""
    servers = []

    def start(**files: bytes) -> StandIn:
        server = Server(("127.0.0.1", 0), Handler)
        server.stand_in = StandIn(f"http://127.0.0.1:{server.server_port}", {f"/{k}": v for k, v in files.items()})
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server.stand_in

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def no_network(monkeypatch):
    """Opening a socket is a failure."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


def content_of(file: official.OfficialFile) -> bytes:
    """Something short in the place of an official file; a list has its number of lines."""
    if file.lines is None:
        return f"content of {file.name}".encode()
    line = "0.65" if file.role == "thresholds" else "猫 " if file.role == "tags_zh" else "cat"
    return f"{line}\n".encode() * file.lines


@pytest.fixture
def published(serve, monkeypatch):
    """The stand-in server in the place of all homes of the official files; each home is ``/NUMBER/NAME``."""
    server = serve()
    models = {}
    for name, model in official.MODELS.items():
        files = []
        for file in model.files:
            content = content_of(file)
            paths = [f"/{number}/{file.name}" for number in range(len(file.homes))]
            server.files |= dict.fromkeys(paths, content)
            sha256 = hashlib.sha256(content).hexdigest() if file.sha256 else None
            size = len(content) if file.size else None
            homes = tuple(server.url + path for path in paths)
            files.append(replace(file, homes=homes, sha256=sha256, size=size, about=len(content)))
        models[name] = replace(model, files=tuple(files))
    monkeypatch.setattr(official, "MODELS", models)
    return server
