"""The record of a batch in one SQLite file: after a kill, nothing is lost and nothing is done twice."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from anytag.errors import LibraryError
from anytag.library import thumbnails
from anytag.library.database import (
    DISK_ERRORS,
    Kind,
    explained_write_errors,
    in_key_order,
    open_database,
    open_read_only,
    unwritable,
)
from anytag.library.entries import Entry, FileIdentity, digest_of, is_gone, key_of
from anytag.recognition import Failure, Recognition, Tag
from anytag.writers.records import PictureRecord, Provenance

#: Version of the file's layout; newer ones are refused.
FORMAT = 1

State = Literal["pending", "done", "failed"]

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (id INTEGER PRIMARY KEY, content TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS pictures (
    key BLOB PRIMARY KEY,        -- the absolute path in the file system's bytes; for archives path, NUL, name
    shown BLOB NOT NULL,         -- the path as it was given or found
    size INTEGER NOT NULL, modified INTEGER NOT NULL,  -- of the file or archive; nanoseconds
    content BLOB,                -- digest of the file, where asked for
    state TEXT NOT NULL,
    settings INTEGER REFERENCES settings (id),
    result TEXT, time TEXT,      -- of a picture that is done
    kind TEXT, message TEXT,     -- of one that failed
    sidecars TEXT,               -- settings of the sidecars that are written
    sidecar_problem TEXT,
    scan INTEGER NOT NULL        -- the last scan that came across it
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_state ON pictures (state, key);
CREATE INDEX IF NOT EXISTS by_content ON pictures (content) WHERE content IS NOT NULL;
CREATE TABLE IF NOT EXISTS written (
    path BLOB, digest BLOB,      -- a sidecar, and what we wrote or were about to write there
    owner BLOB NOT NULL,         -- key of its picture
    before BLOB,                 -- what people had written there, if anything
    PRIMARY KEY (path, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Progress:
    """The record of one output folder.

    Args:
        path: The file; created if there is none.
        read_only: Open it for reading only; its folder need not be writable.

    Raises:
        LibraryError: If it is damaged, or was written by a newer version.
    """

    tables = _TABLES + thumbnails.TABLES
    kind: Kind = "batch"

    def __init__(self, path: Path, read_only: bool = False):
        self.path = path
        self._settings: dict[int, dict[str, Any]] = {}
        try:
            self._base = open_read_only(path, self.kind) if read_only else open_database(path, self.tables, self.kind)
            self.thumbnails = thumbnails.Thumbnails(self._base)
            found = int(self.value("format", str(FORMAT)))
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in DISK_ERRORS:
                raise unwritable(path, error) from error
            advice = "Name another file, or move it away to start over"
            raise LibraryError(f"{path}: cannot be used ({error}). {advice}") from error
        if found > FORMAT:
            raise LibraryError(f"{path}: was written by a newer anytag (format {found}); update anytag")
        if not read_only:
            with explained_write_errors(path):
                self.set_value("format", str(FORMAT))

    def close(self) -> None:
        """Close the file; committed results are safe."""
        self._base.close()

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows that a statement selects."""
        return self._base.execute(statement, parameters).fetchall()

    def _row(self, statement: str, *parameters: Any) -> Any:
        """Return the first row, or ``None``."""
        return self._base.execute(statement, parameters).fetchone()

    def value(self, name: str, default: str) -> str:
        """Return the value stored under a name."""
        row = self._row("SELECT value FROM facts WHERE name = ?", name)
        return default if row is None else str(row[0])

    def set_value(self, name: str, value: str) -> None:
        """Store a value under a name."""
        self._base.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all changes of the block, or none of them."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        except BaseException:
            if self._base.in_transaction:  # A full disk has already rolled it back.
                self._base.execute("ROLLBACK")
            raise

    def settings(self, content: dict[str, Any]) -> int:
        """Store settings, and return their number."""
        text = json.dumps(content, sort_keys=True)
        self._base.execute("INSERT OR IGNORE INTO settings (content) VALUES (?)", (text,))
        return int(self._row("SELECT id FROM settings WHERE content = ?", text)[0])

    def settings_content(self, number: int) -> dict[str, Any]:
        """Return the settings with this number."""
        if number not in self._settings:
            self._settings[number] = json.loads(self._row("SELECT content FROM settings WHERE id = ?", number)[0])
        return self._settings[number]

    def begin_scan(self) -> int:
        """Return the number of a new scan."""
        number = int(self.value("scan", "0")) + 1
        self.set_value("scan", str(number))
        return number

    def known(self, key: bytes) -> tuple[FileIdentity, State, int | None] | None:
        """Return a picture's file state at the last scan, its state, and the settings it was done with."""
        row = self._row("SELECT size, modified, state, settings FROM pictures WHERE key = ?", key)
        return None if row is None else (FileIdentity(row[0], row[1]), row[2], row[3])

    def touch(self, key: bytes, shown: str, scan: int) -> None:
        """Record that a scan found a known picture."""
        self._base.execute("UPDATE pictures SET scan = ?, shown = ? WHERE key = ?", (scan, os.fsencode(shown), key))

    def add(self, entry: Entry, scan: int) -> None:
        """Add a new or changed picture to the pending ones."""
        shown, size, modified = os.fsencode(entry.shown), entry.identity.size, entry.identity.modified
        self._base.execute(
            "INSERT OR REPLACE INTO pictures (key, shown, size, modified, content, state, scan)"
            " VALUES (?, ?, ?, ?, ?, 'pending', ?)",
            (entry.key, shown, size, modified, entry.content, scan),
        )

    def copy_result(self, entry: Entry, settings: int, scan: int) -> bytes | None:
        """Copy the result of another picture with the same content, if there is one.

        Returns:
            The key of the other picture, preferably one that no longer exists; ``None`` if there is none.
        """
        rows = self.rows(
            "SELECT key, result, time FROM pictures"
            " WHERE content = ? AND settings = ? AND state = 'done' AND key != ? LIMIT 100",
            (entry.content, settings, entry.key),
        )
        if not rows:
            return None
        key, result, time = next((row for row in rows if is_gone(row[0])), rows[0])
        self.add(entry, scan)
        self._base.execute(
            "UPDATE pictures SET state = 'done', settings = ?, result = ?, time = ? WHERE key = ?",
            (settings, result, time, entry.key),
        )
        return bytes(key)

    def forget(self, key: bytes) -> None:
        self._base.execute("DELETE FROM pictures WHERE key = ?", (key,))

    def lacks_content(self, key: bytes) -> bool:
        """Whether the digest of a known picture is missing."""
        return self._row("SELECT 1 FROM pictures WHERE key = ? AND content IS NULL", key) is not None

    def set_content(self, key: bytes, content: bytes | None) -> None:
        """Store the digest of a known picture."""
        self._base.execute("UPDATE pictures SET content = ? WHERE key = ?", (content, key))

    def forget_gone(self, scan: int, below: Iterable[bytes]) -> int:
        """Forget pictures in scanned folders that the scan did not find and that no longer exist; return how many."""
        gone, folders = [], list(below)
        for folder in folders:
            start = folder.rstrip(b"/") + b"/"
            # The upper bound is the folder with "0", the character after "/".
            rows = self._base.execute(
                "SELECT key FROM pictures WHERE key >= ? AND key < ? AND scan < ?", (start, start[:-1] + b"0", scan)
            )
            gone += [(row[0],) for row in rows if is_gone(row[0])]
        self._base.executemany("DELETE FROM pictures WHERE key = ?", gone)
        # An empty or missing folder was recorded as a failure of its own.
        self._base.executemany("DELETE FROM pictures WHERE key = ? AND scan < ?", [(one, scan) for one in folders])
        return len(gone)

    def retry_failed(self) -> int:
        """Make failed pictures pending again; return how many."""
        return self._base.execute("UPDATE pictures SET state = 'pending' WHERE state = 'failed'").rowcount

    def pending(self, limit: int | None = None) -> Iterator[Entry]:
        """Yield pending pictures, files before archives, in the order of keys; rows may change meanwhile."""
        rows = in_key_order(
            self._base,
            "SELECT key, shown, size, modified, content FROM pictures"
            " WHERE state = 'pending' AND instr(key, X'00') = 0 AND key > ? ORDER BY key LIMIT ?",
        )
        return (Entry.of_row(*row) for row in islice(rows, limit))

    def store(self, entry: Entry, result: Recognition | Failure, settings: int, time: str) -> None:
        """Store the result of a picture, or why it failed."""
        if isinstance(result, Failure):
            self._base.execute(
                "UPDATE pictures SET state = 'failed', kind = ?, message = ?, settings = ?, result = NULL,"
                " sidecars = NULL WHERE key = ?",
                (result.kind, os.fsencode(result.message), settings, entry.key),
            )
            return
        self._base.execute(
            "UPDATE pictures SET state = 'done', kind = NULL, message = NULL, settings = ?, result = ?, time = ?,"
            " sidecars = NULL, sidecar_problem = NULL WHERE key = ?",
            (settings, _to_text(result), time, entry.key),
        )

    def set_identity(self, entry: Entry, identity: FileIdentity, content: bytes | None) -> None:
        """Record that anytag itself changed a picture's file."""
        self._base.execute(
            "UPDATE pictures SET size = ?, modified = ?, content = coalesce(?, content) WHERE key = ?",
            (identity.size, identity.modified, content, entry.key),
        )
        self.thumbnails.follow(entry.key, identity.size, identity.modified)

    def without_sidecars(self, sidecars: str) -> Iterator[tuple[Entry, PictureRecord]]:
        """Yield done pictures whose sidecars are missing or have other settings; rows may change meanwhile."""
        statement = (
            "SELECT key, shown, size, modified, content, result, time, settings FROM pictures WHERE state = 'done'"
            " AND (sidecars IS NULL OR sidecars != ?) AND key > ? ORDER BY key LIMIT ?"
        )
        for row in in_key_order(self._base, statement, sidecars):
            entry = Entry.of_row(*row[:5])
            yield entry, self._record(entry, *row[5:])

    def retry_sidecars(self) -> None:
        """Mark the sidecars that could not be written as missing, so that they are tried again."""
        self._base.execute("UPDATE pictures SET sidecars = NULL WHERE sidecar_problem IS NOT NULL")

    def forget_sidecars(self) -> None:
        """Mark all sidecars as missing, since they may be gone."""
        self._base.execute("UPDATE pictures SET sidecars = NULL")

    def sidecars_done(self, entry: Entry, sidecars: str, problem: str | None) -> None:
        """Record that a picture's sidecars are written, or what prevented it."""
        self._base.execute(
            "UPDATE pictures SET sidecars = ?, sidecar_problem = ? WHERE key = ?",
            (sidecars, None if problem is None else os.fsencode(problem), entry.key),
        )

    def records(self, thumbnails: bool = False) -> Iterator[PictureRecord]:
        """Yield everything that is done, in the order of paths, with stored thumbnails if asked for."""
        rows = self._base.execute(
            "SELECT key, shown, size, modified, result, time, settings FROM pictures WHERE state = 'done' ORDER BY key"
        )
        with closing(rows):
            for row in rows:
                record = self._record(Entry.of_row(*row[:4]), *row[4:])
                yield replace(record, thumbnail=self.thumbnails.of(row[0])) if thumbnails else record

    def failures(self) -> Iterator[Failure]:
        """Yield everything that failed, unwritten sidecars included, in the order of paths."""
        rows = self._base.execute(
            "SELECT shown, kind, message, sidecar_problem FROM pictures"
            " WHERE state = 'failed' OR sidecar_problem IS NOT NULL ORDER BY key"
        )
        for shown, kind, message, problem in rows:
            if kind is not None:
                yield Failure(os.fsdecode(shown), kind, os.fsdecode(message))
            else:
                yield Failure(os.fsdecode(shown), "sidecar", os.fsdecode(problem))

    def counts(self) -> dict[str, int]:
        """Return the number of pictures in each state."""
        return dict(self._base.execute("SELECT state, count(*) FROM pictures GROUP BY state"))

    def failure_kinds(self) -> dict[str, int]:
        """Return the number of failures of each kind."""
        return dict(self._base.execute("SELECT kind, count(*) FROM pictures WHERE state = 'failed' GROUP BY kind"))

    def done_with(self) -> list[tuple[dict[str, Any], int]]:
        """Return the settings that pictures were done with, and the number of pictures of each."""
        rows = self.rows(
            "SELECT settings, count(*) FROM pictures WHERE state = 'done' GROUP BY settings ORDER BY settings"
        )
        return [(self.settings_content(number), count) for number, count in rows]

    def intend(self, path: Path, digest: bytes, owner: bytes, before: bytes | None) -> None:
        """Record what is about to be written to a sidecar, so that it is known to be anytag's after a kill."""
        self._base.execute(
            "INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?)", (key_of(str(path)), digest, owner, before)
        )

    def wrote(self, path: Path, content: bytes) -> tuple[bytes, bytes | None] | None:
        """Return the owner of a file and its content before anytag, if anytag wrote this content; else ``None``."""
        statement = "SELECT owner, before FROM written WHERE path = ? AND digest = ?"
        owner_and_before: tuple[bytes, bytes | None] | None
        owner_and_before = self._row(statement, key_of(str(path)), digest_of(content))
        return owner_and_before

    def written_files(self) -> list[str]:
        """Return the sidecars that anytag wrote, which may no longer exist."""
        return [os.fsdecode(path) for (path,) in self.rows("SELECT DISTINCT path FROM written ORDER BY path")]

    def _record(self, entry: Entry, result: str, time: str, settings: int) -> PictureRecord:
        content = self.settings_content(settings)
        found = Provenance(content["model"], content["version"], time)
        return PictureRecord(entry.shown, _from_text(result, entry.shown), found, in_archive=entry.in_archive)


def _to_text(recognition: Recognition) -> str:
    record = asdict(recognition)
    del record["path"]
    # ASCII only: a name may contain bytes that are not text, and SQLite's text is UTF-8.
    return json.dumps(record, default=float)


def _from_text(text: str, path: str) -> Recognition:
    record: dict[str, Any] = json.loads(text)
    tags = tuple(Tag(**tag) for tag in record.pop("tags"))
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return Recognition(path=path, tags=tags, **values)
