"""Open the SQLite files of batches and indexes, and explain their errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from anytag.errors import LibraryError
from anytag.pictures.formats import has_picture_extension

#: The record of a batch, or a searchable index.
Kind = Literal["batch", "index"]

_NAMES: dict[Kind, str] = {"batch": "the record of a batch", "index": "an index"}
_ADVICE: dict[Kind, str] = {
    "batch": "name another --out, or move the file away",
    "index": "name the folder of photos, or the file of their index (anytag index PHOTOS makes one)",
}

#: First bytes of every SQLite file.
_MAGIC = b"SQLite format 3\0"

#: Errors of the disk or the folder, not of the file's content.
DISK_ERRORS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)

#: Rows that are read at once where rows may change meanwhile.
_ROWS_TOGETHER = 256


def open_database(path: Path, tables: str, kind: Kind) -> sqlite3.Connection:
    """Open a database, creating it with these tables if there is none.

    Raises:
        LibraryError: If the file is something else.
    """
    _refuse_other_files(path, kind)
    # Transactions are controlled here, not by the module; another thread may close the connection.
    base = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        there = _tables(base)
        if there and (what := _instead_of(kind, there)):
            raise LibraryError(f"{path}: {what}; it is left as it is, name another file")
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")
        # All tables or none: after a kill between two of them, the file would look like another program's.
        base.executescript(f"BEGIN;\n{tables}\n;COMMIT")
    except (sqlite3.Error, LibraryError):
        base.close()
        raise
    return base


def open_read_only(path: Path, kind: Kind) -> sqlite3.Connection:
    """Open a database for reading, also where nothing can be written.

    Raises:
        LibraryError: If the file is something else.
    """
    _refuse_other_files(path, kind)
    place = path.absolute().as_uri()
    base = sqlite3.connect(f"{place}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        there = _tables(base)
    except sqlite3.OperationalError:
        # SQLite has no place for its lock in a read-only folder; nobody else can write there, either.
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
    """Describe a database with these tables, if it is not of this kind."""
    if not {"facts", "pictures"} <= tables:
        return "a database of another program" if tables else f"an empty file, not {_NAMES[kind]}"
    found: Kind = "index" if {"entries", "found"} <= tables else "batch"
    return None if found == kind else f"{_NAMES[found]}, not {_NAMES[kind]}"


def _refuse_other_files(path: Path, kind: Kind) -> None:
    """Raise an error that describes the file, if it is not a database."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError:  # SQLite will report it.
        return
    if head and head != _MAGIC:
        what = "a picture" if has_picture_extension(path.name) else "a file of another kind"
        raise LibraryError(f"{path}: {what}, not {_NAMES[kind]}; {_ADVICE[kind]}")


def in_key_order(base: sqlite3.Connection, statement: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a statement a few at a time, so that rows may change meanwhile.

    The statement selects the key first, and ends in ``key > ? ORDER BY key LIMIT ?``; ``parameters`` come before.
    """
    after = b""
    while rows := base.execute(statement, (*parameters, after, _ROWS_TOGETHER)).fetchall():
        yield from rows
        after = rows[-1][0]


@contextmanager
def explained_write_errors(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as :class:`LibraryError`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: sqlite3.OperationalError) -> LibraryError:
    """Explain SQLite's error about a disk, a folder or a lock."""
    advice = "Earlier results are kept; fix the problem, then run the same command again"
    return LibraryError(f"{path}: cannot be written ({error}). {advice}")
