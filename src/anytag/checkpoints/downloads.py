"""Download large files over unreliable connections, with resumption, retries and verification.

Received bytes are in ``NAME.part``, with the server's entity tag in ``NAME.part.json``. A download resumes from there
if the server still has that version (RFC 9110, ``Range`` with ``If-Range``); otherwise it restarts. Only a complete,
verified file gets its name. One process at a time works on a file (``NAME.lock``, a lock of the operating system, which
ends with the process).
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from anytag.errors import UsageError
from anytag.foundations.atomic_files import DISK_FULL
from anytag.foundations.folder_locks import LOCK_FILE, locked
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
from anytag.model.directory import sha256 as file_sha256

#: Receives bytes received, total bytes (``None``: unknown) and bytes per second.
ProgressReport = Callable[[int, int | None, float], None]

_CHUNK = 1 << 20
_REPORT_SECONDS = 0.1
_LONGEST_WAIT = 120.0


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    report: ProgressReport = lambda done, total, rate: None,
    retries: int = 5,
    timeout: float = 30.0,
    backoff: float = 1.0,
) -> Path:
    """Download a file, unless it exists.

    ``HF_ENDPOINT`` sets a mirror of huggingface.co; ``HF_TOKEN`` is only sent to huggingface.co, not after redirects.

    Args:
        url: ``https``, ``http`` or ``file``.
        target: Path of the file; its folder is created.
        size: Length in bytes, if known.
        sha256: Hexadecimal SHA-256, if known.
        report: Called about ten times per second.
        retries: Number of retries after consecutive failures without progress.
        timeout: Seconds without any data after which a connection is considered broken.
        backoff: Seconds before the first retry, doubled each time; a server's ``Retry-After`` takes precedence.

    Returns:
        ``target``.

    Raises:
        DownloadError: If the file is not available, is a different one, or does not fit on the disk. ``target`` does
            not exist then; received bytes are kept for the next call, unless they are wrong.
    """
    url = mirrored(url)
    if urlsplit(url).scheme not in ("http", "https", "file"):
        raise UsageError(f"{url}: neither https, http nor file; give a whole address")
    part = _Part(target, url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A second process waits, and then finds the file.
        with locked(target.with_name(target.name + LOCK_FILE), lambda: report(part.length(), size, 0.0)):
            if not is_complete(target, size, sha256):
                _persist(url, part, size, _Meter(report, size), retries, timeout, backoff)
                _verify(url, part, size, sha256)
                part.path.replace(target)
                part.forget()
    except OSError as error:
        raise DownloadError(f"{error.filename or target}: {error.strerror or error}; choose another folder") from error
    length = target.stat().st_size
    report(length, length, 0.0)
    return target


def is_complete(path: Path, size: int | None, sha256: str | None) -> bool:
    """Whether a file exists, with the known length and SHA-256."""
    if not path.is_file() or (size is not None and path.stat().st_size != size):
        return False
    return sha256 is None or file_sha256(path) == sha256.lower()


class _Part:
    """The received part of a file, and its version on the server."""

    def __init__(self, target: Path, url: str):
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._state = target.with_name(target.name + ".part.json")
        self._url = url

    def length(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def version(self) -> tuple[str, int | None] | None:
        """Entity tag and total length of the server's file; ``None`` if the download cannot resume."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            return (state["etag"], state["length"]) if state["url"] == self._url and self.length() else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def begin(self, etag: str | None, length: int | None) -> None:
        """Store the version, if it has an entity tag, before its first byte."""
        if etag:
            note = self._state.with_name(self._state.name + ".new")
            note.write_text(json.dumps({"url": self._url, "etag": etag, "length": length}), encoding="utf-8")
            note.replace(self._state)

    def forget(self) -> None:
        self._state.unlink(missing_ok=True)

    def discard(self) -> None:
        self.forget()
        self.path.unlink(missing_ok=True)


class _Meter:
    """Count bytes and report progress."""

    def __init__(self, report: ProgressReport, total: int | None):
        self._report = report
        self._reported = 0.0
        self.begin(0, total)

    def begin(self, done: int, total: int | None) -> None:
        self._start, self._began = done, time.monotonic()
        self._done, self._total = done, total

    def add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            self._report(self._done, self._total, (self._done - self._start) / max(now - self._began, 1e-6))


def _persist(
    url: str, part: _Part, size: int | None, meter: _Meter, retries: int, timeout: float, backoff: float
) -> None:
    """Retry until the file is complete, or fails too often without progress."""
    most, failures = part.length(), 0
    while True:
        try:
            return _receive(url, part, size, meter, timeout)
        except TransientError as error:
            if part.length() > most:
                most, failures = part.length(), 0
            failures += 1
            if failures > retries:
                kept = f"; {_readable(part.length())} are kept, run again to go on" if part.version() else ""
                raise DownloadError(f"{url}: {error}, at {failures} tries in a row{kept}") from error
            wait = backoff * 2 ** (failures - 1) * random.uniform(0.7, 1.0) if error.wait is None else error.wait
            _pause(min(wait, _LONGEST_WAIT))


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _receive(url: str, part: _Part, size: int | None, meter: _Meter, timeout: float) -> None:
    """Receive the rest of the file over one connection.

    Raises:
        TransientError: If the connection broke, or the server is busy.
        DownloadError: If a retry would not help.
    """
    start, version = part.length(), part.version()
    if version is not None and start == version[1]:
        return  # Complete, but the process was killed before verification.
    try:
        response = connect(url, headers_from(start, version[0]) if version else headers_from(0, None), timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and version is not None:
                part.discard()
                return _receive(url, part, size, meter, timeout)
            raise refusal(url, error, part.target) from None
    with response:
        if response.status == 206 and version is not None:
            if not is_from(response, start):
                part.discard()
                return _receive(url, part, size, meter, timeout)
        elif response.status in (200, None):  # None: a file URL.
            start = 0
        else:
            raise DownloadError(f"{url}: answered {response.status}, which is not a file", response.status)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        _check_answer(url, response.headers.get("Content-Type", ""), total, size)
        if not start:
            part.discard()
        _check_space(part, (size or total or 0) - start)
        if not start:
            part.begin(strong_etag(response), total)
        meter.begin(start, size or total)
        _store(response, part, start, meter)
    expected = size or total or 0
    if part.length() < expected:
        raise TransientError(f"broke off after {_readable(part.length())} of {_readable(expected)}")


def _store(response: Any, part: _Part, start: int, meter: _Meter) -> None:
    # Unbuffered, so that reported bytes survive a kill, and a full disk raises at the write.
    with part.path.open("ab" if start else "wb", buffering=0) as file:
        while True:
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise TransientError(f"broke off ({reason_of(error)})") from error
            if not chunk:
                break
            _append(part, file, chunk)
            meter.add(len(chunk))
        os.fsync(file.fileno())


def _append(part: _Part, file: Any, chunk: bytes) -> None:
    view = memoryview(chunk)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise OSError(error.errno, error.strerror, str(part.path)) from error
        raise DownloadError(
            f"{part.target.parent}: the disk is full; free some space or choose another folder, then run again to go "
            f"on ({_readable(part.length())} are kept in {part.path.name})"
        ) from error


def _check_answer(url: str, content_type: str, total: int | None, size: int | None) -> None:
    """Refuse a wrong file before receiving gigabytes."""
    if content_type.startswith("text/html"):
        raise DownloadError(f"{url}: answered with a web page instead of the file; open it in a browser to see why")
    if total is not None and size is not None and total != size:
        raise DownloadError(f"{url}: is {total:,} bytes long, expected {size:,}; it is not the published file")


def _check_space(part: _Part, needed: int) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if free < needed:
        raise DownloadError(
            f"{part.target.parent}: {_readable(needed)} needed, {_readable(free)} free; "
            "free some space or choose another folder"
        )


def _verify(url: str, part: _Part, size: int | None, sha256: str | None) -> None:
    length = part.length()
    if size is not None and length != size:
        part.discard()
        raise DownloadError(f"{url}: {length:,} bytes were received, expected {size:,}; they are deleted, try again")
    if sha256 is not None and (actual := file_sha256(part.path)) != sha256.lower():
        part.discard()
        raise DownloadError(
            f"{url}: SHA-256 is {actual}, expected {sha256.lower()}; the received part is deleted. "
            "Try again; if this persists, the file was changed after publication"
        )


def _readable(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
