"""Files on the web, read once from start to end; dropped connections are resumed."""

from __future__ import annotations

import http.client
import io
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from anytag.errors import SampleError
from anytag.foundations.http import (
    DownloadError,
    TransientError,
    connect,
    headers_from,
    is_from,
    mirrored,
    reason_of,
    refusal,
    strong_etag,
)

#: Seconds without a byte after which a connection counts as dropped.
TIMEOUT = 30.0
#: Seconds before each retry.
WAITS = (1.0, 4.0, 15.0)
#: Longest wait in seconds, whatever the server asks for.
LONGEST_WAIT = 60.0
#: Most bytes of a picture.
_LARGEST_PICTURE = 1 << 28


def is_web_address(text: str) -> bool:
    """Return whether a text is an http or https address."""
    return text[:8].lower().startswith(("http://", "https://"))


def local_path(address: str) -> Path | None:
    """Return the path of a ``file:`` address; ``None`` for other texts."""
    if not address.lower().startswith("file:"):
        return None
    return Path(urllib.request.url2pathname(urllib.parse.urlsplit(address).path))


def open_address(address: str, waits: tuple[float, ...] = WAITS) -> io.BufferedReader:
    """Open a file on the web as a stream.

    Args:
        address: http or https.
        waits: Seconds before each retry after a transient error or a dropped connection; received bytes reset the
            count.

    Raises:
        SampleError: ``download``, at once or while reading.
    """
    return io.BufferedReader(_RemoteFile(address, waits), 1 << 20)


def fetch(address: str, waits: tuple[float, ...] = WAITS) -> bytes:
    """Download a small file.

    Raises:
        SampleError: ``download``, also for more than 256 MB.
    """
    with open_address(address, waits) as stream:
        content = stream.read(_LARGEST_PICTURE + 1)
    if len(content) > _LARGEST_PICTURE:
        raise SampleError("download", f"{address} has more than {_LARGEST_PICTURE >> 20} MB; that is not a picture")
    return content


class _RemoteFile(io.RawIOBase):
    def __init__(self, address: str, waits: tuple[float, ...]):
        self.address = address
        self._waits = waits
        self._failed = 0
        self._at = 0
        self._size: int | None = None
        self._etag: str | None = None
        self._answer: Any = None
        self._connect()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._connect()
            try:
                count: int = self._answer.readinto(buffer)
            except (OSError, http.client.HTTPException) as error:
                self._again(TransientError(f"broke off ({reason_of(error)})"))
                continue
            if count == 0 and self._size is not None and self._at < self._size:
                self._again(TransientError(f"broke off, {self._size - self._at:,} bytes are missing"))
                continue
            self._at += count
            if count:
                self._failed = 0
            return count

    def close(self) -> None:
        self._hang_up()
        super().close()

    def _hang_up(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _connect(self) -> None:
        """Connect at the current position, unless connected."""
        while self._answer is None:
            try:
                self._ask()
            except TransientError as error:
                self._again(error)
            except DownloadError as error:
                raise SampleError("download", str(error)) from error

    def _ask(self) -> None:
        try:
            answer = connect(mirrored(self.address), headers_from(self._at, self._etag), TIMEOUT)
        except urllib.error.HTTPError as error:
            with error:
                raise refusal(self.address, error) from error
        self._answer = answer
        if self._at == 0:
            length = answer.headers.get("Content-Length")
            self._size, self._etag = int(length) if length else None, strong_etag(answer)
        elif answer.status == 206:
            if not is_from(answer, self._at):
                raise DownloadError(f"{self.address}: answered with another part than was asked for")
        else:
            if self._etag and strong_etag(answer) != self._etag:
                raise DownloadError(f"{self.address}: was replaced by another file while it was read; read it again")
            self._pass_over(self._at)

    def _pass_over(self, count: int) -> None:
        """Read up to the current position again, from a server without range requests."""
        try:
            while count and (got := len(self._answer.read(min(count, 1 << 20)))):
                count -= got
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"broke off ({reason_of(error)})") from error

    def _again(self, error: TransientError) -> None:
        """Wait for a retry, or give up."""
        self._hang_up()
        if self._failed >= len(self._waits):
            tries = f" ({self._failed + 1} tries)" if self._failed else ""
            raise SampleError("download", f"{self.address}: {error}{tries}") from error
        wait = self._waits[self._failed]
        time.sleep(wait if error.wait is None else min(error.wait, LONGEST_WAIT))
        self._failed += 1
