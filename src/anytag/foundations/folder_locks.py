"""One process at a time writes into a folder: locks of the operating system, which end with the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from anytag.errors import UsageError

#: The lock's file, in the folder that is worked on.
LOCK_FILE = ".lock"


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
    """Keep other processes from putting something in a path's place; no lock file is left beside it.

    Raises:
        UsageError: If another process does so already.
    """
    file = path.with_name(f".{path.name}{LOCK_FILE}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with _held(file, f"{path}: another process is writing this; wait until it is done"):
        try:
            yield
        finally:
            with suppress(OSError):  # Windows does not remove what is open; the file is empty and harmless.
                file.unlink(missing_ok=True)


@contextmanager
def _held(file: Path, message: str) -> Iterator[None]:
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
        if not file.exists():  # Its last holder has just removed it: whoever comes next would see another file.
            lock.release()
            lock.acquire()
    except Timeout:
        raise UsageError(message) from None
    try:
        yield
    finally:
        lock.release()
