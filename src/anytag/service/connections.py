"""Close connections of clients that do not send a request or do not read their answer.

uvicorn waits without a limit for the first request of a connection, so that a few thousand clients that send a byte
now and then (Slowloris) would use up all file descriptors. Here, a connection without a complete request is closed
after the service's time limit: new, sending headers slowly, or kept after an answer. The body, which follows the
headers, has its own time limit in :mod:`anytag.service.gate`.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from anytag.service.settings import ServiceSettings

#: Highest number of connections without a complete request for longer than :data:`_GRACE` seconds.
MOST_WAITING = 256

#: Seconds in which normal clients send their headers, even when many connect at once.
_GRACE = 1.0

#: Longest timeout of a socket, in seconds.
_LONGEST = 2_000_000.0


def server_config(app: Any, settings: ServiceSettings, **more: Any) -> uvicorn.Config:
    """Return the configuration of the server, with more arguments of ``uvicorn.Config``."""
    return uvicorn.Config(
        app,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.timeout) + 1,
        timeout_keep_alive=int(settings.timeout) + 1,  # The protocol's own limit comes first.
        http=_protocol(settings.timeout),  # From h11, the stricter parser, whatever else is installed.
        h11_max_incomplete_event_size=64 * 1024,
        ws="none",
        **more,
    )


def _protocol(seconds: float) -> type[H11Protocol]:
    """Return the protocol of connections that have ``seconds`` to send headers and to read an answer."""
    waiting: set[H11Protocol] = set()

    class TimedProtocol(H11Protocol):
        """Closes connections that send no headers, or do not read their answer."""

        _timer: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            _limit_unsent(transport, seconds)
            self._look_for_request()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._look_for_request()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._look_for_request()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            self.resume_writing()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._unread is not None:
                self._unread.cancel()
                self._unread = None

        def _look_for_request(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()
            elif self._timer is None and not self.transport.is_closing():
                self._wait()

        def _wait(self) -> None:
            waiting.add(self)
            self._timer = self.loop.call_later(min(_GRACE, seconds), self._look_for_room)

        def _look_for_room(self) -> None:
            if seconds <= _GRACE or len(waiting) > MOST_WAITING:
                self._give_up()
            else:
                self._timer = self.loop.call_later(seconds - _GRACE, self._give_up)

        def _give_up(self) -> None:
            self._stop_waiting()
            self.transport.close()

        def _stop_waiting(self) -> None:
            waiting.discard(self)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return TimedProtocol


def _limit_unsent(transport: asyncio.Transport, seconds: float) -> None:
    """Let the system end connections that read nothing anymore, even while they are being closed (Linux)."""
    connection = transport.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        with suppress(OSError):  # A socket of another kind than TCP.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(min(seconds, _LONGEST) * 1000))
