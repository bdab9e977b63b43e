"""The folder of photos that an index lies in: it may be moved, copied or mounted elsewhere, and the index with it."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from anytag.pictures.left_out import INDEX_FOLDER

#: Tables of an index whose rows have a picture's key.
_KEYED = ("pictures", "entries", "thumbnails")


@dataclass(frozen=True, slots=True)
class Home:
    """A folder of photos with an index in it.

    Attributes:
        now: Where it is; empty: the index lies elsewhere, and its paths stay what they are.
        before: Where it was when the index was written.
    """

    now: str
    before: str

    @staticmethod
    def of(path: Path, before: str) -> Home:
        """That of an index.

        Args:
            path: The file of the index.
            before: What it calls its home; empty: nothing yet.
        """
        now = os.path.abspath(path.parent.parent) if path.parent.name == INDEX_FOLDER else ""  # noqa: PTH100
        return Home(now, before or now)

    @property
    def moved(self) -> bool:
        """Whether it is not where it was."""
        return bool(self.now) and self.now != self.before

    def here(self, path: str) -> str:
        """A path of the index as it is now."""
        start = os.path.join(self.before, "")  # noqa: PTH118 (names that are not UTF-8 stay strings)
        return os.path.join(self.now, path[len(start) :]) if self.moved and path.startswith(start) else path  # noqa: PTH118

    def settle(self, base: sqlite3.Connection) -> None:
        """Call everything below the old place by its new name; what is known under that already gives way.

        Args:
            base: The index, in a transaction.
        """
        old, new = (os.fsencode(os.path.join(place, "")) for place in (self.before, self.now))  # noqa: PTH118
        # Up to the first key that cannot begin with the folder: "0" follows "/".
        below = (old, old[:-1] + bytes([old[-1] + 1]))
        for table in _KEYED:
            keys = [row[0] for row in base.execute(f"SELECT key FROM {table} WHERE key >= ? AND key < ?", below)]
            pairs = [(new + key[len(old) :], key) for key in keys]
            if table == "pictures":
                base.executemany("DELETE FROM pictures WHERE key = ?", [(to,) for to, _ in pairs])
            base.executemany(f"UPDATE OR REPLACE {table} SET key = ? WHERE key = ?", pairs)
        shown = [
            (os.fsencode(self.here(os.fsdecode(path))), key)
            for key, path in base.execute("SELECT key, shown FROM pictures").fetchall()
        ]
        base.executemany("UPDATE pictures SET shown = ? WHERE key = ?", shown)
        words = base.execute("SELECT entries.id, shown FROM entries JOIN pictures USING (key)").fetchall()
        base.executemany(
            "UPDATE words SET path = ? WHERE rowid = ?",
            [(bytes(path).decode("utf-8", errors="replace"), number) for number, path in words],
        )
