"""SQLite files: opened as batches and indexes need them, and what goes wrong with them in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from anytag.errors import LibraryError
from anytag.pictures.formats import has_picture_extension

#: What a file of ours knows: what a batch has done, or what can be searched.
Kind = Literal["batch", "index"]

_NAMES: dict[Kind, str] = {"batch": "the record of a batch", "index": "an index"}
_ADVICE: dict[Kind, str] = {
    "batch": "name another --out, or move the file away",
    "index": "name the folder of photos, or the file of their index (anytag index PHOTOS makes one)",
}

#: What every SQLite file begins with.
_MAGIC = b"SQLite format 3\0"

#: Errors that say nothing about what a file holds: they are the disk's, or the folder's.
OF_THE_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)


def open_database(path: Path, tables: str, kind: Kind) -> sqlite3.Connection:
    """A connection to a file of ours, made with these tables if there is none.

    Raises:
        LibraryError: If it is another one's.
    """
    _refuse_other_files(path, kind)
    # Transactions are begun and ended here, not by the module; other threads may close what this one opened.
    base = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        there = _tables(base)
        if there and (what := _instead_of(kind, there)):
            raise LibraryError(f"{path}: {what}; it is left as it is, name another file")
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")
        # All or none: after a kill between two of them, the file would be taken for another program's.
        base.executescript(f"BEGIN;\n{tables}\n;COMMIT")
    except (sqlite3.Error, LibraryError):
        base.close()
        raise
    return base


def open_read_only(path: Path, kind: Kind) -> sqlite3.Connection:
    """A connection that changes nothing, also where nothing can be changed.

    Raises:
        LibraryError: If it is another one's.
    """
    _refuse_other_files(path, kind)
    place = path.absolute().as_uri()
    base = sqlite3.connect(f"{place}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        there = _tables(base)
    except sqlite3.OperationalError:
        # In a folder that cannot be written SQLite has no place for its lock; then nobody else can write, either.
        base.close()
        base = sqlite3.connect(f"{place}?immutable=1", uri=True, isolation_level=None, check_same_thread=False)
        there = _tables(base)
    if what := _instead_of(kind, there):
        base.close()
        raise LibraryError(f"{path}: {what}; {_ADVICE[kind]}")
    return base


def _tables(base: sqlite3.Connection) -> set[str]:
    return {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _instead_of(kind: Kind, tables: set[str]) -> str | None:
    """What a database with these tables is, if it is not of this kind."""
    if not {"facts", "pictures"} <= tables:
        return "a database of another program" if tables else f"an empty file, not {_NAMES[kind]}"
    found: Kind = "index" if {"entries", "found"} <= tables else "batch"
    return None if found == kind else f"{_NAMES[found]}, not {_NAMES[kind]}"


def _refuse_other_files(path: Path, kind: Kind) -> None:
    """Say what a file is, if it is not a database at all.

    Raises:
        LibraryError: If it is none.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError:  # SQLite says what is wrong.
        return
    if head and head != _MAGIC:
        what = "a picture" if has_picture_extension(path.name) else "a file of another kind"
        raise LibraryError(f"{path}: {what}, not {_NAMES[kind]}; {_ADVICE[kind]}")


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
