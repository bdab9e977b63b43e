"""A list of pictures on standard input; file names may be any bytes."""

from __future__ import annotations

import io
import os
import select
import sys
from collections import deque
from collections.abc import Iterator

from anytag.cli._output import log
from anytag.errors import UsageError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

#: Bytes to read at a time, the capacity of a pipe.
_CHUNK = 65_536


class PathList(Iterator[str]):
    """Paths from standard input, as they arrive.

    Args:
        null: Whether paths end in NUL, as from ``find -print0``, instead of a line break; all other characters are then
            part of the name.

    Raises:
        UsageError: If standard input is closed or cannot be read.
    """

    def __init__(self, null: bool = False):
        if sys.stdin is None:
            raise UsageError("- reads the list of pictures from standard input, but that is closed")
        self._end = b"\0" if null else b"\n"
        self._rest, self._first, self._ended, self._warned = b"", True, False, False
        self._records: deque[bytes] = deque()
        try:
            self._descriptor: int | None = sys.stdin.fileno()
        except io.UnsupportedOperation:
            self._descriptor = None
        if sys.stdin.isatty():
            log("reading paths from the terminal, one per line; Ctrl-D ends the list")

    def __next__(self) -> str:
        while True:
            while not self._records and not self._ended:
                self._read()
            if not self._records:
                raise StopIteration
            if name := self._name(self._records.popleft()):
                return name

    def ready(self) -> bool:
        """Whether the next path, or the end, can be read without waiting."""
        while not self._records and not self._ended and self._is_waiting():
            self._read()
        return bool(self._records) or self._ended

    def _is_waiting(self) -> bool:
        if self._descriptor is None:
            return True
        try:
            return bool(select.select([self._descriptor], [], [], 0)[0])
        except (OSError, ValueError):
            return True  # Windows cannot poll a pipe, so reading waits.

    def _read(self) -> None:
        try:
            if self._descriptor is None:
                chunk = sys.stdin.buffer.read(_CHUNK)
            else:
                chunk = self._from_descriptor(self._descriptor)
        except OSError as error:
            raise UsageError(f"standard input cannot be read as a list of pictures ({error.strerror})") from None
        *whole, self._rest = (self._rest + chunk).split(self._end)
        if not chunk:
            self._ended = True
            whole, self._rest = ([*whole, self._rest] if self._rest else whole), b""
        self._records += whole

    @staticmethod
    def _from_descriptor(descriptor: int) -> bytes:
        try:
            return os.read(descriptor, _CHUNK)
        except BlockingIOError:
            # Another process made the shared terminal or pipe non-blocking.
            select.select([descriptor], [], [])
            return os.read(descriptor, _CHUNK)

    def _name(self, record: bytes) -> str:
        first, self._first = self._first, False
        if self._end == b"\0":
            return os.fsdecode(record)
        if first and record.startswith(_UTF_16):
            raise UsageError("the list on standard input is in UTF-16; write it in UTF-8")
        # Some editors and shells put a byte order mark before the first line.
        record = (record.removeprefix(_BYTE_ORDER_MARK) if first else record).rstrip(b"\r")
        if b"\0" in record and not self._warned:
            self._warned = True
            log("there is a NUL in the list of pictures; --null reads what find -print0 writes")
        # Spaces around a name belong to it.
        return os.fsdecode(record) if record.strip() else ""
