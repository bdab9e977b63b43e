"""Locks of the operating system that let one process at a time write into a folder.

They end with the process. A lock's file is removed when nobody holds it any longer (:func:`locked`), so that none is
left among a user's pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from anytag.errors import UsageError
from anytag.foundations.report import Report

#: The lock's file in the locked folder.
LOCK_FILE = ".lock"

#: Seconds between two tries of a waiting process.
_PATIENCE = 0.5

#: Attempts to lock a file that other processes remove meanwhile.
_TRIES = 10


class LockedError(Exception):
    """Another process, or another part of this one, holds the lock."""


@contextmanager
def only_writer(folder: Path, what: str, advice: str) -> Iterator[None]:
    """Lock a folder against other processes. A killed process leaves the lock's file, but not the lock.

    Args:
        folder: Created if missing.
        what: What the other process does, for the message: "another run trains".
        advice: The alternative to waiting, for the message: "give another --run".

    Raises:
        UsageError: If another process, or another part of this one, holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / LOCK_FILE, f"{folder}: {what} here; wait until it is done, or {advice}"):
        yield


@contextmanager
def only_writer_of(path: Path) -> Iterator[None]:
    """Lock a path against other processes that would write to it.

    Raises:
        UsageError: If another process holds the lock.
    """
    file = path.with_name(f".{path.name}{LOCK_FILE}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with _held(file, f"{path}: another process is writing this; wait until it is done"):
        yield


@contextmanager
def taking_turns(folder: Path, what: str, report: Report) -> Iterator[None]:
    """Lock a folder that several processes share, after waiting for the others.

    Args:
        folder: Created if missing.
        what: What the others do, for the message: "another run fills this cache".
        report: Called once if it has to wait.
    """
    folder.mkdir(parents=True, exist_ok=True)
    has_reported = False

    def waiting() -> None:
        nonlocal has_reported
        if not has_reported:
            has_reported = True
            report(f"{folder}: {what}; waiting until it is done")

    with locked(folder / LOCK_FILE, waiting):
        yield


@contextmanager
def locked(file: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock, and remove its file at the end.

    A process that opened the file before it was removed would hold the lock of a file that nobody else sees. So the
    file is opened first, and must still have the same name once the lock is held. Only the holder removes it.

    Args:
        file: The lock's file, in an existing folder.
        waiting: Called again and again while another process holds the lock; ``None``: do not wait.

    Raises:
        LockedError: If another process holds the lock and ``waiting`` is ``None``.
    """
    lock = FileLock(file, timeout=0 if waiting is None else _PATIENCE)
    while not _acquired(lock, file):
        if waiting is None:
            raise LockedError
        waiting()
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove what is open; the file is empty and harmless.
            file.unlink(missing_ok=True)
        lock.release()


def _acquired(lock: FileLock, file: Path) -> bool:
    """Try to lock the file."""
    try:
        for _ in range(_TRIES):
            with ExitStack() as opened:
                status = None
                with suppress(FileNotFoundError):  # The lock creates it, and the next try finds it.
                    status = os.fstat(opened.enter_context(file.open("rb")).fileno())
                lock.acquire()
                with suppress(FileNotFoundError):
                    if status is not None and os.path.samestat(status, file.stat()):
                        return True
                lock.release()
        lock.acquire()  # On file systems without locks the file itself is the lock, and each release removes it.
    except Timeout:
        return False
    return True


@contextmanager
def _held(file: Path, message: str) -> Iterator[None]:
    try:
        with locked(file):
            yield
    except LockedError:
        raise UsageError(message) from None
