"""SQLite files of ours: there whole, or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from anytag.library.database import open_database
from anytag.library.progress import Progress


def test_tables_are_made_all_or_none(tmp_path):
    """A kill between two tables must not leave a file that is taken for another program's."""
    path = tmp_path / "progress.sqlite"
    first = Progress.tables.partition(";")[0]
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        open_database(path, f"{first}; nothing that SQLite knows;")
    with closing(sqlite3.connect(path)) as base:
        assert base.execute("SELECT name FROM sqlite_master").fetchall() == []
    with closing(Progress(path)) as known:
        assert known.counts() == {}
