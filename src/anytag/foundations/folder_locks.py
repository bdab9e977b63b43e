"""One process at a time writes into a folder: locks of the operating system, which end with the process.

The file of a lock is gone once nobody holds it (:func:`locked`), so that none is left among a user's pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from anytag.errors import UsageError
from anytag.foundations.report import Report

#: The lock's file, in the folder that is worked on.
LOCK_FILE = ".lock"

#: Seconds between two tries of a process that waits.
_PATIENCE = 0.5

#: Times that the file may change hands while it is being locked.
_TRIES = 10


class LockedError(Exception):
    """Another process, or another part of this one, holds the lock."""


@contextmanager
def only_writer(folder: Path, what: str, advice: str) -> Iterator[None]:
    """Keep other processes from writing into a folder.

    A process that is killed leaves the file, but no lock.

    Args:
        folder: Made if it is not there.
        what: What another process would be doing there, for the message: "another run trains".
        advice: What else can be done than to wait, for the message: "give another --run".

    Raises:
        UsageError: If another process, or another part of this one, holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / LOCK_FILE, f"{folder}: {what} here; wait until it is done, or {advice}"):
        yield


@contextmanager
def only_writer_of(path: Path) -> Iterator[None]:
    """Keep other processes from putting something in a path's place.

    Raises:
        UsageError: If another process does so already.
    """
    file = path.with_name(f".{path.name}{LOCK_FILE}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with _held(file, f"{path}: another process is writing this; wait until it is done"):
        yield


@contextmanager
def taking_turns(folder: Path, what: str, report: Report) -> Iterator[None]:
    """Wait until no other process is at work in a folder that several share, and keep others waiting meanwhile.

    Args:
        folder: Made if it is not there.
        what: What the others do there, for people who wait: "another run fills this cache".
        report: Told once that it waits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    said: list[str] = []

    def waiting() -> None:
        if not said:
            said.append(f"{folder}: {what}; waiting until it is done")
            report(said[0])

    with locked(folder / LOCK_FILE, waiting):
        yield


@contextmanager
def locked(file: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock, whose file is removed at the end.

    A process that opened the file before it was removed would hold the lock of a file that nobody else sees. So the
    file that was locked must still be the one with that name: it is opened first, and looked up again once the lock is
    held. Only the holder of the lock removes it.

    Args:
        file: The lock's file; its folder must be there.
        waiting: Called again and again while somebody else holds the lock; ``None``: that is an error.

    Raises:
        LockedError: If somebody else holds the lock, and there is nothing to wait for.
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
    """Lock the file of that name; returns whether that was possible."""
    try:
        for _ in range(_TRIES):
            with ExitStack() as opened:
                seen = None
                with suppress(FileNotFoundError):  # Then the lock makes it, and the next try sees it.
                    seen = os.fstat(opened.enter_context(file.open("rb")).fileno())
                lock.acquire()
                with suppress(FileNotFoundError):
                    if seen is not None and os.path.samestat(seen, file.stat()):
                        return True
                lock.release()
        lock.acquire()  # On file systems without such locks the file is the lock, and goes with each release.
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
