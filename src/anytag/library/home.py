"""Keep the paths of an index valid after its folder of photos was moved, copied or mounted elsewhere."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from anytag.pictures.left_out import INDEX_FOLDER

#: Tables with a picture's key.
_KEYED = ("pictures", "entries", "thumbnails")


@dataclass(frozen=True, slots=True)
class Home:
    """A folder of photos with an index in it.

    Attributes:
        path: Where it is; empty if the index lies elsewhere, whose paths never change.
        stored: Where it was when the index was written.
    """

    path: str
    stored: str

    @staticmethod
    def of(index: Path, stored: str) -> Home:
        """Return the home of an index file; ``stored`` is empty in a new index."""
        path = os.path.abspath(index.parent.parent) if index.parent.name == INDEX_FOLDER else ""  # noqa: PTH100
        return Home(path, stored or path)

    @property
    def moved(self) -> bool:
        """Whether it moved since the index was written."""
        return bool(self.path) and self.path != self.stored

    def current(self, path: str) -> str:
        """Return the current path of a picture in the index."""
        start = os.path.join(self.stored, "")  # noqa: PTH118 (names that are not UTF-8 stay strings)
        return os.path.join(self.path, path[len(start) :]) if self.moved and path.startswith(start) else path  # noqa: PTH118

    def update_paths(self, base: sqlite3.Connection) -> None:
        """Replace the old folder in all paths of an index; older entries of the new paths are dropped.

        Args:
            base: The index, in a transaction.
        """
        old, new = (os.fsencode(os.path.join(place, "")) for place in (self.stored, self.path))  # noqa: PTH118
        # The upper bound is the folder with "0", the character after "/".
        below = (old, old[:-1] + bytes([old[-1] + 1]))
        for table in _KEYED:
            keys = [row[0] for row in base.execute(f"SELECT key FROM {table} WHERE key >= ? AND key < ?", below)]
            pairs = [(new + key[len(old) :], key) for key in keys]
            if table == "pictures":
                base.executemany("DELETE FROM pictures WHERE key = ?", [(to,) for to, _ in pairs])
            base.executemany(f"UPDATE OR REPLACE {table} SET key = ? WHERE key = ?", pairs)
        shown = [
            (os.fsencode(self.current(os.fsdecode(path))), key)
            for key, path in base.execute("SELECT key, shown FROM pictures").fetchall()
        ]
        base.executemany("UPDATE pictures SET shown = ? WHERE key = ?", shown)
        words = base.execute("SELECT entries.id, shown FROM entries JOIN pictures USING (key)").fetchall()
        base.executemany(
            "UPDATE words SET path = ? WHERE rowid = ?",
            [(bytes(path).decode("utf-8", errors="replace"), number) for number, path in words],
        )
