"""What a batch has done, kept in one SQLite file: killed at any moment, nothing is lost and nothing done twice."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from anytag.errors import LibraryError
from anytag.library import thumbnails
from anytag.library.database import OF_THE_DISK, Kind, full_disk_told, open_database, open_read_only, unwritable
from anytag.library.entries import Entry, FileIdentity, digest_of, is_gone, key_of
from anytag.recognition import Failure, Recognition, Tag
from anytag.writers.records import PictureRecord, Provenance

#: Layout of the file; a newer one is refused.
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
    """The progress file of one output folder.

    Args:
        path: The file; it is made if there is none.
        read_only: Only look at it; it must be there, and its folder need not be writable.

    Raises:
        LibraryError: If it is damaged, or was written by a newer version.
    """

    #: What the file is made of, and what for.
    tables = _TABLES + thumbnails.TABLES
    kind: Kind = "batch"

    def __init__(self, path: Path, read_only: bool = False):
        self.path = path
        self._settings: dict[int, dict[str, Any]] = {}
        try:
            self._base = open_read_only(path, self.kind) if read_only else open_database(path, self.tables, self.kind)
            #: Small pictures, if they were asked for.
            self.thumbnails = thumbnails.Thumbnails(self._base)
            found = int(self.fact("format", str(FORMAT)))
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in OF_THE_DISK:
                raise unwritable(path, error) from error
            advice = "Name another file, or move it away to begin anew"
            raise LibraryError(f"{path}: cannot be used ({error}). {advice}") from error
        if found > FORMAT:
            raise LibraryError(f"{path}: was written by a newer anytag (format {found}); update anytag")
        if not read_only:
            with full_disk_told(path):
                self.set_fact("format", str(FORMAT))

    def close(self) -> None:
        """Close the file; what was committed is safe."""
        self._base.close()

    def fact(self, name: str, default: str) -> str:
        """A value that was kept under a name."""
        row = self._base.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return default if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        self._base.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of the block, or none of them."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        except BaseException:
            if self._base.in_transaction:  # A full disk has rolled it back.
                self._base.execute("ROLLBACK")
            raise

    def settings(self, content: dict[str, Any]) -> int:
        """The number under which these settings are kept."""
        text = json.dumps(content, sort_keys=True)
        self._base.execute("INSERT OR IGNORE INTO settings (content) VALUES (?)", (text,))
        row = self._base.execute("SELECT id FROM settings WHERE content = ?", (text,)).fetchone()
        return int(row[0])

    def settings_content(self, number: int) -> dict[str, Any]:
        """The settings that are kept under a number."""
        if number not in self._settings:
            row = self._base.execute("SELECT content FROM settings WHERE id = ?", (number,)).fetchone()
            self._settings[number] = json.loads(row[0])
        return self._settings[number]

    def begin_scan(self) -> int:
        """A number for a new look at the sources."""
        number = int(self.fact("scan", "0")) + 1
        self.set_fact("scan", str(number))
        return number

    def known(self, key: bytes) -> tuple[FileIdentity, State, int | None] | None:
        """A picture's file when it was last scanned, its state, and the settings that it was done with."""
        row = self._base.execute(
            "SELECT size, modified, state, settings FROM pictures WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else (FileIdentity(row[0], row[1]), row[2], row[3])

    def touch(self, key: bytes, shown: str, scan: int) -> None:
        """Note that a scan came across a known picture."""
        self._base.execute("UPDATE pictures SET scan = ?, shown = ? WHERE key = ?", (scan, os.fsencode(shown), key))

    def add(self, entry: Entry, scan: int) -> None:
        """Put a new or changed picture among those to do."""
        shown, size, modified = os.fsencode(entry.shown), entry.identity.size, entry.identity.modified
        self._base.execute(
            "INSERT OR REPLACE INTO pictures (key, shown, size, modified, content, state, scan)"
            " VALUES (?, ?, ?, ?, ?, 'pending', ?)",
            (entry.key, shown, size, modified, entry.content, scan),
        )

    def copy_result(self, entry: Entry, settings: int, scan: int) -> bytes | None:
        """Give a picture the result of another one with the same content, if there is one.

        Returns:
            The key of that one, which is not there anymore if there is such a one; ``None``: there is none.
        """
        rows = self._base.execute(
            "SELECT key, result, time FROM pictures"
            " WHERE content = ? AND settings = ? AND state = 'done' AND key != ? LIMIT 100",
            (entry.content, settings, entry.key),
        ).fetchall()
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
        """Forget a picture."""
        self._base.execute("DELETE FROM pictures WHERE key = ?", (key,))

    def lacks_content(self, key: bytes) -> bool:
        """Whether the digest of a known picture was never taken."""
        row = self._base.execute("SELECT 1 FROM pictures WHERE key = ? AND content IS NULL", (key,)).fetchone()
        return row is not None

    def set_content(self, key: bytes, content: bytes | None) -> None:
        """Note the digest of a known picture."""
        self._base.execute("UPDATE pictures SET content = ? WHERE key = ?", (content, key))

    def forget_gone(self, scan: int, below: Iterable[bytes]) -> int:
        """Forget pictures in scanned folders that the scan did not come across and that are not there anymore."""
        gone, folders = [], list(below)
        for folder in folders:
            start = folder.rstrip(b"/") + b"/"
            # Up to the first key that cannot begin with the folder: "0" follows "/".
            rows = self._base.execute(
                "SELECT key FROM pictures WHERE key >= ? AND key < ? AND scan < ?", (start, start[:-1] + b"0", scan)
            )
            gone += [(row[0],) for row in rows if is_gone(row[0])]
        self._base.executemany("DELETE FROM pictures WHERE key = ?", gone)
        # A folder that was empty or missing stood for itself, as a failure.
        self._base.executemany("DELETE FROM pictures WHERE key = ? AND scan < ?", [(one, scan) for one in folders])
        return len(gone)

    def retry_failed(self) -> int:
        """Put what failed among those to do."""
        return self._base.execute("UPDATE pictures SET state = 'pending' WHERE state = 'failed'").rowcount

    def pending(self, limit: int | None = None) -> Iterator[Entry]:
        """What is to do, files before archives, in the order of keys; rows may change while it is read."""
        after, left = b"", limit
        while left is None or left > 0:
            rows = self._base.execute(
                "SELECT key, shown, size, modified, content FROM pictures"
                " WHERE state = 'pending' AND key > ? AND instr(key, X'00') = 0 ORDER BY key LIMIT ?",
                (after, 256 if left is None else min(256, left)),
            ).fetchall()
            if not rows:
                return
            for key, shown, size, modified, content in rows:
                yield Entry(key, os.fsdecode(shown), FileIdentity(size, modified), content)
            after, left = rows[-1][0], None if left is None else left - len(rows)

    def store(self, entry: Entry, result: Recognition | Failure, settings: int, time: str) -> None:
        """Keep what was found in a picture, or why it could not be read."""
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
        """Note that we changed a picture's file ourselves."""
        self._base.execute(
            "UPDATE pictures SET size = ?, modified = ?, content = coalesce(?, content) WHERE key = ?",
            (identity.size, identity.modified, content, entry.key),
        )
        self.thumbnails.follow(entry.key, identity.size, identity.modified)

    def without_sidecars(self, sidecars: str) -> Iterator[tuple[Entry, PictureRecord]]:
        """Done pictures whose sidecars are missing, or written with other settings; rows may change meanwhile."""
        after = b""
        while True:
            rows = self._base.execute(
                "SELECT key, shown, size, modified, content, result, time, settings FROM pictures WHERE state = 'done'"
                " AND key > ? AND (sidecars IS NULL OR sidecars != ?) ORDER BY key LIMIT 256",
                (after, sidecars),
            ).fetchall()
            if not rows:
                return
            for key, shown, size, modified, content, *done in rows:
                entry = Entry(key, os.fsdecode(shown), FileIdentity(size, modified), content)
                yield entry, self._record(entry, *done)
            after = rows[-1][0]

    def retry_sidecars(self) -> None:
        """Put pictures whose sidecars could not be written among those without."""
        self._base.execute("UPDATE pictures SET sidecars = NULL WHERE sidecar_problem IS NOT NULL")

    def forget_sidecars(self) -> None:
        """Note that sidecars may not be there anymore."""
        self._base.execute("UPDATE pictures SET sidecars = NULL")

    def sidecars_done(self, entry: Entry, sidecars: str, problem: str | None) -> None:
        """Note that a picture's sidecars are written, or what kept one from it."""
        self._base.execute(
            "UPDATE pictures SET sidecars = ?, sidecar_problem = ? WHERE key = ?",
            (sidecars, None if problem is None else os.fsencode(problem), entry.key),
        )

    def records(self, thumbnails: bool = False) -> Iterator[PictureRecord]:
        """Everything that is done, in the order of paths; with the small pictures that are kept, if they are wanted."""
        rows = self._base.execute(
            "SELECT key, shown, size, modified, result, time, settings FROM pictures WHERE state = 'done' ORDER BY key"
        )
        with closing(rows):
            for key, shown, size, modified, *done in rows:
                record = self._record(Entry(key, os.fsdecode(shown), FileIdentity(size, modified)), *done)
                yield replace(record, thumbnail=self.thumbnails.of(key)) if thumbnails else record

    def failures(self) -> Iterator[Failure]:
        """Everything that failed, sidecars that could not be written included, in the order of paths."""
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
        """Pictures in each state."""
        return dict(self._base.execute("SELECT state, count(*) FROM pictures GROUP BY state"))

    def failure_kinds(self) -> dict[str, int]:
        """Failures of each kind."""
        return dict(self._base.execute("SELECT kind, count(*) FROM pictures WHERE state = 'failed' GROUP BY kind"))

    def done_with(self) -> list[tuple[dict[str, Any], int]]:
        """The settings that pictures were done with, and how many with each."""
        rows = self._base.execute(
            "SELECT settings, count(*) FROM pictures WHERE state = 'done' GROUP BY settings ORDER BY settings"
        ).fetchall()
        return [(self.settings_content(number), count) for number, count in rows]

    def intend(self, path: Path, digest: bytes, owner: bytes, before: bytes | None) -> None:
        """Note what is about to be written to a sidecar, so that after a kill it is known to be ours."""
        self._base.execute(
            "INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?)", (key_of(str(path)), digest, owner, before)
        )

    def wrote(self, path: Path, content: bytes) -> tuple[bytes, bytes | None] | None:
        """Whose file it is and what stood there before us, if the content is what we wrote; else ``None``."""
        row = self._base.execute(
            "SELECT owner, before FROM written WHERE path = ? AND digest = ?", (key_of(str(path)), digest_of(content))
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def written_files(self) -> list[str]:
        """Sidecars that we wrote, which need not be there anymore."""
        return [os.fsdecode(row[0]) for row in self._base.execute("SELECT DISTINCT path FROM written ORDER BY path")]

    def _record(self, entry: Entry, result: str, time: str, settings: int) -> PictureRecord:
        content = self.settings_content(settings)
        found = Provenance(content["model"], content["version"], time)
        return PictureRecord(entry.shown, _from_text(result, entry.shown), found, in_archive=entry.in_archive)


def _to_text(seen: Recognition) -> str:
    record = asdict(seen)
    del record["path"]
    # ASCII alone: a name may hold bytes that are not text, and SQLite's text is UTF-8.
    return json.dumps(record, default=float)


def _from_text(text: str, path: str) -> Recognition:
    record: dict[str, Any] = json.loads(text)
    tags = tuple(Tag(**tag) for tag in record.pop("tags"))
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return Recognition(path=path, tags=tags, **values)
