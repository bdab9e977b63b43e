"""SQLite files: opened as batches and indexes need them, and what goes wrong with them in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anytag.errors import LibraryError

#: Errors that say nothing about what a file holds: they are the disk's, or the folder's.
OF_THE_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)


def open_database(path: Path, tables: str) -> sqlite3.Connection:
    """A connection to a file of ours, made with these tables if there is none.

    Raises:
        LibraryError: If it is another program's.
    """
    # Transactions are begun and ended here, not by the module; other threads may close what this one opened.
    base = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    there = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if there and not {"facts", "pictures"} <= there:
        base.close()
        raise LibraryError(f"{path}: a database of another program; it is left as it is, name another file")
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("PRAGMA synchronous = NORMAL")
    # All or none: after a kill between two of them, the file would be taken for another program's.
    try:
        base.executescript(f"BEGIN;\n{tables}\n;COMMIT")
    except sqlite3.Error:
        base.close()
        raise
    return base


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, also where nothing can be changed."""
    place = path.absolute().as_uri()
    base = sqlite3.connect(f"{place}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        base.execute("SELECT 1 FROM facts").fetchone()
    except sqlite3.OperationalError:
        # In a folder that cannot be written SQLite has no place for its lock; then nobody else can write, either.
        base.close()
        base = sqlite3.connect(f"{place}?immutable=1", uri=True, isolation_level=None, check_same_thread=False)
    return base


@contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """SQLite's own errors as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: sqlite3.OperationalError) -> LibraryError:
    """SQLite's complaint about a disk, a folder or a lock, as ours."""
    return LibraryError(
        f"{path}: cannot be written ({error}). What was done before is kept; put that right, then give the same "
        "command again"
    )
