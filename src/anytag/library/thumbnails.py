"""Small pictures that a batch or an index keeps, so that pages of many pictures need not read the large ones again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

#: Deleted with their pictures.
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
    """The small pictures in one progress file.

    Args:
        base: The file, open.
    """

    def __init__(self, base: sqlite3.Connection):
        self._base = base

    def keep(self, key: bytes, size: int, modified: int, jpeg: bytes) -> None:
        """Keep one.

        Args:
            key: Of its picture.
            size: Of the picture's file or archive, in bytes.
            modified: Likewise, in nanoseconds.
            jpeg: The small picture.
        """
        self._base.execute("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?, ?)", (key, size, modified, jpeg))

    def follow(self, key: bytes, size: int, modified: int) -> None:
        """Note that we changed a picture's file ourselves, and not what it shows."""
        self._base.execute("UPDATE thumbnails SET size = ?, modified = ? WHERE key = ?", (size, modified, key))

    def of(self, key: bytes) -> bytes | None:
        """That of a picture whose file is the one that it was made of; ``None``: there is none."""
        try:
            row = self._base.execute(
                "SELECT jpeg FROM thumbnails JOIN pictures USING (key, size, modified) WHERE key = ?", (key,)
            ).fetchone()
        except sqlite3.OperationalError:  # A file of before, that is only read.
            return None
        return None if row is None else bytes(row[0])

    def missing(self) -> Iterator[tuple[bytes, bytes, int, int]]:
        """Key, path, size and time of pictures that are done and have none, archives left out; rows may change."""
        after = b""
        while True:
            rows = self._base.execute(
                "SELECT key, shown, size, modified FROM pictures LEFT JOIN thumbnails USING (key, size, modified)"
                " WHERE state = 'done' AND jpeg IS NULL AND instr(key, X'00') = 0 AND key > ? ORDER BY key LIMIT 64",
                (after,),
            ).fetchall()
            if not rows:
                return
            yield from rows
            after = rows[-1][0]

    def clear(self) -> None:
        self._base.execute("DELETE FROM thumbnails")

    def __len__(self) -> int:
        return int(self._base.execute("SELECT count(*) FROM thumbnails").fetchone()[0])
