"""Run a service in a separate process, and send it requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """Outcome of a request; status 0 means that the connection broke."""

    status: int
    body: bytes
    seconds: float
    retry_after: float = 0.0

    def json(self) -> Any:
        """The response, or ``None`` if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Service:
    """Run ``anytag serve`` on a local port until the block ends.

    Args:
        options: Options of the command.
        before: Python that runs first in its process.
        port: Port; 0 for any free one.
    """

    def __init__(self, *options: str, before: str = "", port: int = 0):
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115 (closed with the service)
        code = f"{before}\nfrom anytag.cli import main\nmain()"
        given = ["serve", "--port", str(port), "--threads", "2", *options]
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *given], stderr=self.log, stdout=subprocess.DEVNULL
        )
        while not (said := self.said("anytag serves at http://127.0.0.1:")):
            if self.process.poll() is not None:
                raise SystemExit(f"the service ended at once: {Path(self.log.name).read_text()}")
            time.sleep(0.01)
        self.port = int(said.split()[3].rpartition(":")[2])
        while self.ask("GET", "/readyz").status != 200:
            time.sleep(0.01)
        self.seconds_to_ready = time.perf_counter() - begun

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def said(self, start: str) -> str:
        """First line of its log with this prefix."""
        lines = Path(self.log.name).read_text().splitlines()
        return next((line for line in lines if line.startswith(start)), "")

    def connect(self, timeout: float = 60) -> http.client.HTTPConnection:
        """Open a connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method: str, path: str, body: bytes | None = None, timeout: float = 60, **headers: str) -> Reply:
        """Send one request on a new connection."""
        with contextlib.closing(self.connect(timeout)) as connection:
            return ask(connection, method, path, body, headers)

    def tag(self, picture: bytes) -> Reply:
        """Request the tags of a picture."""
        return self.ask("POST", "/v1/tag", picture)

    def megabytes(self) -> float:
        """Its current memory in 10^6 bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS"))

    @property
    def lives(self) -> bool:
        """Whether the process is running."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill it, as a shortage of memory or power would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop it, as a user would."""
        if self.lives:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        self.log.close()


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """Send one request on a reusable connection; reopen it if it was closed."""
    begun, used = time.perf_counter(), connection.sock is not None
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        if used:  # As browsers and all client libraries do.
            return ask(connection, method, path, body, headers)
        return Reply(0, b"", time.perf_counter() - begun)
    retry = answer.getheader("Retry-After")
    return Reply(answer.status, content, time.perf_counter() - begun, float(retry or 0))


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value at a quantile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def example() -> bytes:
    """A photograph."""
    return (Path(__file__).resolve().parents[1] / "examples" / "cat.jpg").read_bytes()
