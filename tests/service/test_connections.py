"""Slow clients against a real server."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time

import pytest

pytest.importorskip("fastapi")

import uvicorn

from anytag.service import connections
from anytag.service.connections import server_config
from anytag.service.settings import ServiceSettings

#: Seconds until the server of these tests gives a connection up.
TIMEOUT = 1.5

WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

#: More than all buffers between server and client.
ANSWER = bytes(64_000_000)


async def app(scope, receive, send):
    if scope["type"] == "http":
        body = ANSWER if scope["path"] == "/large" else b"ok"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def server():
    config = server_config(app, ServiceSettings(timeout=TIMEOUT), log_level="error", lifespan="off")
    running = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    running.address = listening.getsockname()
    yield running
    running.should_exit = True
    thread.join()


def connect(server, first=b""):
    connection = socket.create_connection(server.address, 20)
    connection.sendall(first)
    return connection


def answer(connection, what=WHOLE):
    """Read up to the end of the body."""
    connection.sendall(what)
    received = b""
    while not received.endswith(b"ok") and (part := connection.recv(1 << 16)):
        received += part
    return received


def seconds_until_closed(connection, drip=b""):
    """Measure how long a connection stays open while a byte is sent now and then."""
    begun = time.monotonic()
    connection.settimeout(0.1)
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < begun + 20:
            with contextlib.suppress(TimeoutError):
                if not connection.recv(1 << 16):
                    break
            if drip:
                connection.sendall(drip)
    return time.monotonic() - begun


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
@pytest.mark.parametrize("drip", [b"", b"a"])
def test_headers_that_do_not_come(server, first, drip):
    with connect(server, first) as slow:
        assert TIMEOUT - 0.2 <= seconds_until_closed(slow, drip if first else b"") <= TIMEOUT + 2


def test_a_kept_alive_connection(server):
    with connect(server) as kept:
        assert answer(kept).endswith(b"ok")
        assert TIMEOUT - 0.2 <= seconds_until_closed(kept) <= TIMEOUT + 2


def test_the_second_request_of_a_connection(server):
    with connect(server) as slow:
        assert answer(slow).endswith(b"ok")
        slow.sendall(b"GET / HT")
        assert TIMEOUT - 0.2 <= seconds_until_closed(slow, b"T") <= TIMEOUT + 2


def test_normal_clients_are_not_interrupted(server):
    """Headers in two parts, and requests on one connection for longer than its limit."""
    with connect(server, WHOLE[:20]) as honest:
        time.sleep(TIMEOUT / 2)
        assert answer(honest, WHOLE[20:]).endswith(b"ok")
        for _ in range(3):
            time.sleep(TIMEOUT / 2)
            assert answer(honest).endswith(b"ok")
        assert answer(honest, WHOLE * 2).startswith(b"HTTP/1.1 200")


def test_of_very_many_only_some_may_wait(server, monkeypatch):
    monkeypatch.setattr(connections, "MOST_WAITING", 3)
    with contextlib.ExitStack() as opened:
        slow = [opened.enter_context(connect(server, b"GET")) for _ in range(20)]
        time.sleep(connections._GRACE + 0.2)
        assert answer(opened.enter_context(connect(server))).endswith(b"ok")
        closed = sum(seconds_until_closed(connection) < 0.09 for connection in slow[:10])
    assert closed >= 7


def test_an_answer_that_is_not_read(server):
    with connect(server, b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n") as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        time.sleep(0.3)
        assert len(server.server_state.connections) >= 1
        end = time.monotonic() + 20
        while server.server_state.connections and time.monotonic() < end:
            time.sleep(0.1)
        assert not server.server_state.connections


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux")
def test_the_system_ends_what_nobody_takes(server, monkeypatch):
    limits = []
    usual = connections._limit_unsent

    def asked(transport, seconds):
        usual(transport, seconds)
        given = transport.get_extra_info("socket")
        limits.append(given.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    monkeypatch.setattr(connections, "_limit_unsent", asked)
    with connect(server) as one:
        assert answer(one).endswith(b"ok")
    assert limits == [1500]
