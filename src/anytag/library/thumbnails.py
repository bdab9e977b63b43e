"""Thumbnails stored in the database of a batch or an index, so that pages need not read the large pictures again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from anytag.library.database import in_key_order

TABLES = """
CREATE TABLE IF NOT EXISTS thumbnails (
    key BLOB PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL,  -- of the file that it was made of
    jpeg BLOB NOT NULL
);
CREATE TRIGGER IF NOT EXISTS forget_thumbnail AFTER DELETE ON pictures BEGIN
    DELETE FROM thumbnails WHERE key = old.key;
END;
"""


class Thumbnails:
    """The thumbnails in one database."""

    def __init__(self, base: sqlite3.Connection):
        self._base = base

    def keep(self, key: bytes, size: int, modified: int, jpeg: bytes) -> None:
        """Store one, for a file of this size (in bytes) and time (in nanoseconds)."""
        self._base.execute("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?, ?)", (key, size, modified, jpeg))

    def follow(self, key: bytes, size: int, modified: int) -> None:
        """Keep a thumbnail valid after anytag itself changed the picture's metadata."""
        self._base.execute("UPDATE thumbnails SET size = ?, modified = ? WHERE key = ?", (size, modified, key))

    def of(self, key: bytes) -> bytes | None:
        """Return the thumbnail of a picture, unless its file changed; ``None`` if there is none."""
        try:
            row = self._base.execute(
                "SELECT jpeg FROM thumbnails JOIN pictures USING (key, size, modified) WHERE key = ?", (key,)
            ).fetchone()
        except sqlite3.OperationalError:  # A file of an earlier version, open for reading.
            return None
        return None if row is None else bytes(row[0])

    def missing(self) -> Iterator[tuple[bytes, bytes, int, int]]:
        """Yield key, path, size and time of pictures that are done and have none, except in archives."""
        return in_key_order(
            self._base,
            "SELECT key, shown, size, modified FROM pictures LEFT JOIN thumbnails USING (key, size, modified)"
            " WHERE state = 'done' AND jpeg IS NULL AND instr(key, X'00') = 0 AND key > ? ORDER BY key LIMIT ?",
        )

    def clear(self) -> None:
        self._base.execute("DELETE FROM thumbnails")

    def __len__(self) -> int:
        return int(self._base.execute("SELECT count(*) FROM thumbnails").fetchone()[0])
