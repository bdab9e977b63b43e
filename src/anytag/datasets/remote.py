"""Files from the web, read once from front to back; a dropped connection is taken up where it broke."""

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

#: Seconds without a byte after which a connection counts as dropped.
TIMEOUT = 30.0
#: Seconds before each further try.
WAITS = (1.0, 4.0, 15.0)
#: Bytes that a single picture may have.
_LARGEST_PICTURE = 1 << 28

#: Answers that may be different the next time.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def is_web_address(text: str) -> bool:
    """Whether a text is an http or https address."""
    return text[:8].lower().startswith(("http://", "https://"))


def local_path(address: str) -> Path | None:
    """The path that a ``file:`` address names; ``None`` if it is none."""
    if not address.lower().startswith("file:"):
        return None
    return Path(urllib.request.url2pathname(urllib.parse.urlsplit(address).path))


def open_address(address: str, waits: tuple[float, ...] = WAITS) -> io.BufferedReader:
    """A file on the web as a stream.

    Args:
        address: http or https.
        waits: Seconds to wait before each further try, after an answer that may pass or a dropped connection; a try
            that brings bytes starts the count anew.

    Raises:
        SampleError: ``download``, at once or while reading.
    """
    return io.BufferedReader(_RemoteFile(address, waits), 1 << 20)


def fetch(address: str, waits: tuple[float, ...] = WAITS) -> bytes:
    """A small file on the web.

    Raises:
        SampleError: ``download``, also for more than 256 MB.
    """
    with open_address(address, waits) as stream:
        content = stream.read(_LARGEST_PICTURE + 1)
    if len(content) > _LARGEST_PICTURE:
        raise SampleError("download", f"{address} has more than {_LARGEST_PICTURE >> 20} MB; that is no picture")
    return content


class _RemoteFile(io.RawIOBase):
    def __init__(self, address: str, waits: tuple[float, ...]):
        self.address = address
        self._waits = waits
        self._failed = 0
        self._at = 0
        self._size: int | None = None
        self._answer: Any = None
        self._connect()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                if self._answer is None:
                    self._connect()
                count: int = self._answer.readinto(buffer)
                if count == 0 and self._size is not None and self._at < self._size:
                    raise ConnectionError(f"{self._size - self._at:,} bytes are missing")
            except (OSError, http.client.HTTPException) as error:
                self._again(error)
                continue
            self._at += count
            if count:
                self._failed = 0
            return count

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
        super().close()

    def _connect(self) -> None:
        """Open the address at the place that has been reached."""
        while self._answer is None:
            headers = {"User-Agent": "anytag", "Accept-Encoding": "identity"}
            if self._at:
                headers["Range"] = f"bytes={self._at}-"
            try:
                request = urllib.request.Request(self.address, headers=headers)
                answer = urllib.request.urlopen(request, timeout=TIMEOUT)
                length = answer.headers.get("Content-Length")
                if self._at and answer.status != 206:
                    # This server does not know ranges: what is known already is read again.
                    left = self._at
                    while left and (got := len(answer.read(min(left, 1 << 20)))):
                        left -= got
                elif self._at == 0:
                    self._size = int(length) if length else None
                self._answer = answer
            except urllib.error.HTTPError as error:
                if error.code not in _PASSING:
                    raise SampleError("download", f"{self.address}: {error.code} {error.reason}") from error
                self._again(error)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._again(error)

    def _again(self, error: Exception) -> None:
        """Wait for another try, or give up."""
        self._answer = None
        if self._failed >= len(self._waits):
            reason = getattr(error, "reason", None) or error
            tries = f" ({self._failed + 1} tries)" if self._failed else ""
            raise SampleError("download", f"{self.address}: {reason}{tries}") from error
        time.sleep(self._waits[self._failed])
        self._failed += 1
