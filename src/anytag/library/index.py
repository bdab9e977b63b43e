"""A searchable index of a library: one SQLite file for tags and captions, and a file of embeddings beside it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.errors import LibraryError
from anytag.foundations.atomic_files import place_named
from anytag.library.database import full_disk_told
from anytag.library.entries import Entry, FileIdentity
from anytag.library.home import Home
from anytag.library.nearest import NeighborGraphs
from anytag.library.people import Sidecar, read_sidecar
from anytag.library.progress import Progress
from anytag.recognition import Failure, Recognition
from anytag.writers.records import PictureRecord

#: The file of an index in :data:`~anytag.pictures.left_out.INDEX_FOLDER`.
INDEX_FILE = "library.sqlite"

#: The kind of keywords that people gave and no model knows.
PEOPLE = "people"

#: Pictures whose tags are counted one by one.
_FEW = 2000

#: Stands for a tag that all pictures have.
EVERYTHING = 0

_TABLES = """
CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS tags (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, UNIQUE (name, kind)
);
CREATE TABLE IF NOT EXISTS found (
    tag INTEGER NOT NULL, entry INTEGER NOT NULL, score REAL NOT NULL, PRIMARY KEY (tag, entry)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS found_by_entry ON found (entry, tag, score);
CREATE INDEX IF NOT EXISTS found_by_score ON found (tag, score);
CREATE TABLE IF NOT EXISTS postings (tag INTEGER PRIMARY KEY, entries BLOB NOT NULL, scores BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS unplaced (entry INTEGER PRIMARY KEY);  -- vectors that are in no graph of neighbors yet
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (caption, path);
CREATE TRIGGER IF NOT EXISTS forget AFTER DELETE ON pictures BEGIN
    DELETE FROM found WHERE entry = (SELECT id FROM entries WHERE key = old.key);
    DELETE FROM words WHERE rowid = (SELECT id FROM entries WHERE key = old.key);
    DELETE FROM entries WHERE key = old.key;
    DELETE FROM postings;
END;
"""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of a picture, each of length 1.

    Attributes:
        picture: ``[P]``: near to those of pictures that look alike.
        text: ``[T]``: near to the embeddings of texts that fit; empty where the model compares no texts.
    """

    picture: NDArray[np.float32]
    text: NDArray[np.float32]


class Index(Progress):
    """What a library's pictures show, kept up to date by a batch that writes into it.

    Args:
        path: The SQLite file; it is made if there is none.
        read_only: Only search it; it must be there, and its folder need not be writable.

    Raises:
        LibraryError: If it is damaged, was written by a newer version, or cannot be written.
    """

    tables = Progress.tables + _TABLES
    kind = "index"

    def __init__(self, path: Path, read_only: bool = False):
        super().__init__(path, read_only)
        self.embeddings, self.graphs = EmbeddingFiles(path), NeighborGraphs(path)
        #: The folder of photos that the index lies in.
        self.home = Home.of(path, json.loads(self.fact("home", '""')))
        if not read_only:
            self._settle()
        #: What the next stored pictures are embedded as; whoever recognizes puts it here.
        self.waiting: dict[str, Embeddings] = {}

    def _settle(self) -> None:
        """Go by where the photos are now."""
        now = json.dumps(self.home.now)
        if self.fact("home", "") == now:
            return
        with full_disk_told(self.path), self.transaction():
            if self.home.moved:
                self.home.settle(self._base)
                self.set_sources([self.home.here(source) for source in self.sources()])
            self.set_fact("home", now)
        self.home = Home.of(self.path, self.home.now)

    def sources(self) -> list[str]:
        """The places of pictures that were given last; none before the first time."""
        return list(json.loads(self.fact("places", "[]")))

    def set_sources(self, sources: Sequence[str]) -> None:
        """Remember places of pictures."""
        self.set_fact("places", json.dumps(list(sources)))  # ASCII alone: names may be no UTF-8.

    def begin_model(self, version: str) -> None:
        """Forget vectors of another model: they cannot be compared with those of this one.

        Args:
            version: Of the model that works from now on.
        """
        if self.fact("embedded by", version) != version:
            self.graphs.clear()
            self.embeddings.clear()
        self.set_fact("embedded by", version)

    def store(self, entry: Entry, result: Recognition | Failure, settings: int, time: str) -> None:
        """Keep what was found in a picture, and make it searchable."""
        super().store(entry, result, settings, time)
        vectors = self.waiting.pop(entry.shown, None)
        if isinstance(result, Failure):
            self._base.execute("DELETE FROM found WHERE entry = ?", (self._id(entry.key),))
            self._base.execute("DELETE FROM postings")
            return
        number = self._fill(entry, result)
        if vectors is not None:
            self.embeddings.write(number, vectors)
            self._unplace(number)

    def copy_result(self, entry: Entry, settings: int, scan: int) -> bytes | None:
        """Give a picture the result of another one with the same content, and its vectors."""
        source = super().copy_result(entry, settings, scan)
        if source is None:
            return None
        result, time = self._base.execute("SELECT result, time FROM pictures WHERE key = ?", (entry.key,)).fetchone()
        number = self._fill(entry, self._record(entry, result, time, settings).recognition)
        self.embeddings.copy(self._id(source), number)
        self._unplace(number)
        return source

    def _unplace(self, number: int) -> None:
        self._base.execute("INSERT OR IGNORE INTO unplaced VALUES (?)", (number,))

    def _fill(self, entry: Entry, seen: Recognition) -> int:
        number = self._id(entry.key)
        self._base.execute("DELETE FROM postings")
        self._base.execute("DELETE FROM words WHERE rowid = ?", (number,))
        self._put_found(number, seen, read_sidecar(entry.shown, entry.in_archive))
        path = os.fsencode(entry.shown).decode("utf-8", errors="replace")
        self._base.execute("INSERT INTO words (rowid, caption, path) VALUES (?, ?, ?)", (number, seen.caption, path))
        return number

    def _put_found(self, number: int, seen: Recognition, sidecar: Sidecar) -> None:
        """What a picture is found by: our tags without those that people refused, and people's, which are certain."""
        self._base.execute("DELETE FROM found WHERE entry = ?", (number,))
        tags = [tag for tag in seen.tags if tag.name.casefold() not in sidecar.refused]
        self._base.executemany(
            "INSERT OR IGNORE INTO tags (name, kind) VALUES (?, ?)", [(tag.name, tag.kind) for tag in tags]
        )
        self._base.executemany(
            "INSERT OR REPLACE INTO found SELECT id, ?, ? FROM tags WHERE name = ? AND kind = ?",
            [(number, float(tag.score), tag.name, tag.kind) for tag in tags],
        )
        for name in sidecar.people:
            # A tag that models know is that tag; of other names people are the only source.
            known = "SELECT id FROM tags WHERE name = ? COLLATE NOCASE ORDER BY kind = ?, id LIMIT 1"
            row = self._base.execute(known, (name, PEOPLE)).fetchone()
            if row is None:
                self._base.execute("INSERT INTO tags (name, kind) VALUES (?, ?)", (name, PEOPLE))
                row = self._base.execute(known, (name, PEOPLE)).fetchone()
            self._base.execute("INSERT OR REPLACE INTO found VALUES (?, ?, 1.0)", (row[0], number))

    def read_people(self, number: int) -> None:
        """Find a picture by what its sidecar says now; only the tags that it has or had are laid out anew.

        Raises:
            LibraryError: If there is no such picture.
        """
        record = self.record(number)
        if record is None:
            raise LibraryError(f"{self.path}: has no picture {number}")
        of = "SELECT tag FROM found WHERE entry = ?"
        with self.transaction():
            before = self.rows(of, [number])
            self._put_found(number, record.recognition, read_sidecar(record.path, record.in_archive))
            self._base.executemany("DELETE FROM postings WHERE tag = ?", {*before, *self.rows(of, [number])})

    def record(self, number: int) -> PictureRecord | None:
        """What was found in a picture; ``None``: there is none of this number."""
        row = self._base.execute(
            "SELECT key, shown, size, modified, result, time, settings FROM pictures JOIN entries USING (key)"
            " WHERE entries.id = ? AND state = 'done'",
            (number,),
        ).fetchone()
        if row is None:
            return None
        key, shown, size, modified, *done = row
        return self._record(Entry(key, self.home.here(os.fsdecode(shown)), FileIdentity(size, modified)), *done)

    def small_picture(self, number: int) -> bytes | None:
        """The small picture that is kept of a picture, if its file is still the one that was read."""
        row = self._base.execute("SELECT key FROM entries WHERE id = ?", (number,)).fetchone()
        return None if row is None else self.thumbnails.of(bytes(row[0]))

    def _id(self, key: bytes) -> int:
        self._base.execute("INSERT OR IGNORE INTO entries (key) VALUES (?)", (key,))
        return int(self._base.execute("SELECT id FROM entries WHERE key = ?", (key,)).fetchone()[0])

    def pack(self) -> None:
        """Lay the pictures of every tag out for quick searches; changes to any picture undo it."""
        if self._is_packed():
            return  # Nothing was changed since.
        done = "SELECT entries.id FROM entries JOIN pictures USING (key) WHERE state = 'done' ORDER BY entries.id"
        everything = np.array([row[0] for row in self._base.execute(done)], np.int64)
        changed = np.intersect1d(self.unplaced(), everything)
        for name in ("picture", "text"):
            vectors = self.embeddings.read(name)
            self.graphs.update(name, vectors, everything[everything < len(vectors)], changed)
        with self.transaction():
            self._base.execute("DELETE FROM unplaced")
            self._base.execute("DELETE FROM postings")
            self._put_posting(EVERYTHING, everything, np.zeros(len(everything), np.float32))
            for (tag,) in self._base.execute("SELECT id FROM tags").fetchall():
                rows = self._base.execute("SELECT entry, score FROM found WHERE tag = ? ORDER BY entry", (tag,))
                table = np.array(rows.fetchall(), np.float64).reshape(-1, 2)
                self._put_posting(tag, table[:, 0].astype(np.int64), table[:, 1].astype(np.float32))

    def _is_packed(self) -> bool:
        [[laid, tags]] = self.rows("SELECT (SELECT count(*) FROM postings), (SELECT count(*) FROM tags)")
        return bool(laid == tags + 1)

    def _put_posting(self, tag: int, entries: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        self._base.execute("INSERT INTO postings VALUES (?, ?, ?)", (tag, entries.tobytes(), scores.tobytes()))

    # -- reading ------------------------------------------------------------------------------------------------

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a statement of :mod:`anytag.library.search` selects."""
        return self._base.execute(statement, parameters).fetchall()

    def posting(self, tag: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The pictures with a tag, in rising order, and their scores; of :data:`EVERYTHING` all that are done."""
        row = self._base.execute("SELECT entries, scores FROM postings WHERE tag = ?", (tag,)).fetchone()
        if row is not None:
            return np.frombuffer(row[0], np.int64), np.frombuffer(row[1], np.float32)
        if tag == EVERYTHING:
            statement = "SELECT entries.id, 0.0 FROM entries JOIN pictures USING (key) WHERE state = 'done' ORDER BY 1"
            rows = self._base.execute(statement).fetchall()
        else:
            rows = self._base.execute("SELECT entry, score FROM found WHERE tag = ? ORDER BY entry", (tag,)).fetchall()
        table = np.array(rows, np.float64).reshape(-1, 2)
        return table[:, 0].astype(np.int64), table[:, 1].astype(np.float32)

    def frequent_tags(self, most: int, among: NDArray[np.int64] | None = None) -> list[tuple[str, int]]:
        """The most frequent tags, by name, and how many pictures have each.

        Args:
            most: How many tags.
            among: Numbers of the pictures that count; ``None``: all.
        """
        counts: Counter[str] = Counter()
        for name, count in self._count_all() if among is None else self._count(among):
            counts[name] += count
        frequent = ((name, count) for name, count in counts.items() if count)
        return sorted(frequent, key=lambda item: (-item[1], item[0]))[:most]

    def _count_all(self) -> Iterable[tuple[str, int]]:
        if self._is_packed():
            return self.rows("SELECT name, length(entries) / 8 FROM postings JOIN tags ON tags.id = tag")
        return self.rows("SELECT name, count(*) FROM found JOIN tags ON tags.id = tag GROUP BY tags.id")

    def _count(self, among: NDArray[np.int64]) -> Iterable[tuple[str, int]]:
        if len(among) > _FEW and self._is_packed():  # Then it takes less to look at the pictures of every tag.
            counting = np.zeros(int(among.max()) + 1, bool)
            counting[among] = True
            for name, entries in self._base.execute("SELECT name, entries FROM postings JOIN tags ON tags.id = tag"):
                those = np.frombuffer(entries, np.int64)
                yield name, int(np.count_nonzero(counting[those[: np.searchsorted(those, len(counting))]]))
            return
        for start in range(0, len(among), 30_000):
            part = among[start : start + 30_000].tolist()
            yield from self.rows(
                "SELECT name, count(*) FROM found JOIN tags ON tags.id = tag"
                f" WHERE entry IN ({','.join('?' * len(part))}) GROUP BY tags.id",
                part,
            )

    def unplaced(self) -> NDArray[np.int64]:
        """Pictures whose vectors are in no graph of neighbors yet, in rising order."""
        try:
            rows = self._base.execute("SELECT entry FROM unplaced ORDER BY entry").fetchall()
        except sqlite3.OperationalError:  # An index of before, that is only read.
            rows = []
        return np.array([row[0] for row in rows], np.int64)

    def paths(self, entries: Iterable[int]) -> dict[int, str]:
        """Where pictures lie, by their numbers."""
        found = {}
        for number in entries:
            row = self._base.execute(
                "SELECT shown FROM pictures JOIN entries USING (key) WHERE entries.id = ?", (number,)
            ).fetchone()
            if row is not None:
                found[number] = self.home.here(os.fsdecode(row[0]))
        return found

    def __len__(self) -> int:
        return int(self._base.execute("SELECT count(*) FROM pictures WHERE state = 'done'").fetchone()[0])


class EmbeddingFiles:
    """Embeddings of an index, a row a picture: ``library.picture.f32`` and ``library.text.f32``.

    Rows are written before the picture is committed; a row without its picture is never read.

    Args:
        path: The index.
    """

    def __init__(self, path: Path):
        self._paths = {name: path.with_suffix(f".{name}.f32") for name in ("picture", "text")}
        self._width_path = path.with_suffix(".widths")

    def width(self, name: str) -> int:
        """Length of the vectors; 0 before the first.

        Raises:
            LibraryError: If the file that says so is damaged.
        """
        try:
            widths = dict(line.split() for line in self._width_path.read_text().splitlines())
            return int(widths.get(name, 0))
        except FileNotFoundError:
            return 0
        except ValueError:
            raise LibraryError(f"{self._width_path}: damaged; move the index away and make it again") from None

    def write(self, number: int, vectors: Embeddings) -> None:
        """Keep a picture's vectors.

        Raises:
            LibraryError: If vectors of another length are there: they come from another model.
        """
        for name, vector in (("picture", vectors.picture), ("text", vectors.text)):
            if len(vector):
                self._check_width(name, len(vector))
                self._put(name, number, vector.astype("<f4").tobytes())

    def copy(self, source: int, target: int) -> None:
        """Give a picture the vectors of another."""
        for name in self._paths:
            if self.width(name):
                self._put(name, target, self.read(name)[source].tobytes())

    def read(self, name: str) -> NDArray[np.float32]:
        """All rows ``[N, W]``, mapped into memory; row 0 is of nobody, and rows may be of nobody anymore."""
        width, path = self.width(name), self._paths[name]
        if not width or not path.exists():
            return np.zeros((0, max(width, 1)), np.float32)
        rows = path.stat().st_size // (4 * width)
        return np.memmap(path, "<f4", "r", shape=(rows, width))

    def clear(self) -> None:
        """Forget all vectors: another model makes others."""
        for path in (*self._paths.values(), self._width_path):
            path.unlink(missing_ok=True)

    def _check_width(self, name: str, width: int) -> None:
        known = self.width(name)
        if known not in (0, width):
            raise LibraryError(
                f"{self._paths[name]}: holds vectors of {known} numbers, and this model gives {width}; move the index "
                "away and make it again"
            )
        if not known:
            with place_named(self._width_path), self._width_path.open("a") as file:
                file.write(f"{name} {width}\n")

    def _put(self, name: str, number: int, row: bytes) -> None:
        path = self._paths[name]
        with place_named(path), path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(number * len(row))
            file.write(row)
