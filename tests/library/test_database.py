"""SQLite files are created completely or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from anytag.errors import LibraryError
from anytag.library.database import open_database
from anytag.library.index import Index
from anytag.library.progress import Progress


def test_tables_are_made_all_or_none(tmp_path):
    """A kill between two tables must not leave a file that looks like another program's."""
    path = tmp_path / "progress.sqlite"
    first = Progress.tables.partition(";")[0]
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        open_database(path, f"{first}; nothing that SQLite knows;", "batch")
    with closing(sqlite3.connect(path)) as base:
        assert base.execute("SELECT name FROM sqlite_master").fetchall() == []
    with closing(Progress(path)) as known:
        assert known.counts() == {}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("kind", [Progress, Index])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("c.jpg", "a picture, not "),
        ("notes.txt", "a file of another kind, not "),
        ("catalog.sqlite", "a database of another program; "),
        ("other", "not "),
    ],
)
def test_files_of_others_are_called_what_they_are_and_left_alone(tmp_path, read_only, kind, name, what):
    path = tmp_path / name
    if name == "catalog.sqlite":
        with closing(sqlite3.connect(path)) as base:
            base.execute("CREATE TABLE facts (a)")
    elif name == "other":
        (Index if kind is Progress else Progress)(path).close()
    else:
        path.write_bytes(b"\xff\xd8\xff some text that is longer than sixteen bytes")
    before = path.read_bytes()
    with pytest.raises(LibraryError) as refused:
        kind(path, read_only)
    assert str(refused.value).startswith(f"{path}: ")
    assert what in str(refused.value)
    assert path.read_bytes() == before


def test_an_empty_file_is_made_an_index_but_is_none(tmp_path):
    path = tmp_path / "library.sqlite"
    path.touch()
    with pytest.raises(LibraryError, match="an empty file, not an index; name the folder of photos, or "):
        Index(path, read_only=True)
    Index(path).close()
    Index(path, read_only=True).close()
