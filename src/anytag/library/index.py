"""A searchable index of a library: one SQLite file for tags and captions, and files of embeddings beside it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.errors import LibraryError
from anytag.foundations.atomic_files import add_filename_to_errors
from anytag.library.database import explained_write_errors
from anytag.library.entries import Entry
from anytag.library.home import Home
from anytag.library.matched import Matched
from anytag.library.nearest import NeighborGraphs
from anytag.library.people import Sidecar, read_sidecar
from anytag.library.progress import Progress
from anytag.recognition import Failure, Recognition
from anytag.writers.records import PictureRecord

#: The file of an index in :data:`~anytag.pictures.left_out.INDEX_FOLDER`.
INDEX_FILE = "library.sqlite"

#: The kind of keywords that only people gave.
PEOPLE = "people"

#: Highest number of pictures whose tags are counted picture by picture.
_FEW = 2000

#: Number of a virtual tag that all pictures have.
EVERYTHING = 0

#: Pictures that are done, in rising order.
_DONE = "SELECT entries.id, 0.0 FROM entries JOIN pictures USING (key) WHERE state = 'done' ORDER BY 1"

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
CREATE TABLE IF NOT EXISTS unplaced (entry INTEGER PRIMARY KEY);  -- vectors that no graph of neighbors contains yet
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
    """Embeddings of a picture, each of length 1.

    Attributes:
        picture: ``[P]``, close to those of pictures that look alike.
        text: ``[T]``, close to those of texts that fit; empty if the model embeds no texts.
    """

    picture: NDArray[np.float32]
    text: NDArray[np.float32]


class Index(Progress):
    """The record of a batch, with tables for searching.

    Raises:
        LibraryError: If it is damaged, was written by a newer version, or cannot be written.
    """

    tables = Progress.tables + _TABLES
    kind = "index"

    def __init__(self, path: Path, read_only: bool = False):
        super().__init__(path, read_only)
        self.embeddings, self.graphs = EmbeddingFiles(path), NeighborGraphs(path)
        self.home = Home.of(path, json.loads(self.value("home", '""')))
        if not read_only:
            self._update_home()
        #: Embeddings of the pictures that are stored next, by path; set by the recognizing code.
        self.pending_embeddings: dict[str, Embeddings] = {}

    def _update_home(self) -> None:
        """Update all paths if the folder of photos moved."""
        path = json.dumps(self.home.path)
        if self.value("home", "") == path:
            return
        with explained_write_errors(self.path), self.transaction():
            if self.home.moved:
                self.home.update_paths(self._base)
                self.set_sources([self.home.current(source) for source in self.sources()])
            self.set_value("home", path)
        self.home = Home.of(self.path, self.home.path)

    def sources(self) -> list[str]:
        """Return the sources of the last update; none before the first."""
        return list(json.loads(self.value("places", "[]")))

    def set_sources(self, sources: Sequence[str]) -> None:
        """Store the sources of pictures."""
        self.set_value("places", json.dumps(list(sources)))  # ASCII only, since names may not be UTF-8.

    def begin_model(self, version: str) -> None:
        """Delete the embeddings of other model versions, which cannot be compared with this one's."""
        if self.value("embedded by", version) != version:
            self.graphs.clear()
            self.embeddings.clear()
        self.set_value("embedded by", version)

    def store(self, entry: Entry, result: Recognition | Failure, settings: int, time: str) -> None:
        """Store the result of a picture, and make it searchable."""
        super().store(entry, result, settings, time)
        vectors = self.pending_embeddings.pop(entry.shown, None)
        if isinstance(result, Failure):
            self._base.execute("DELETE FROM found WHERE entry = ?", (self._id(entry.key),))
            self._base.execute("DELETE FROM postings")
            return
        number = self._fill(entry, result)
        if vectors is not None:
            self.embeddings.write(number, vectors)
            self._unplace(number)

    def copy_result(self, entry: Entry, settings: int, scan: int) -> bytes | None:
        """Copy the result and the embeddings of another picture with the same content."""
        source = super().copy_result(entry, settings, scan)
        if source is None:
            return None
        result, time = self._row("SELECT result, time FROM pictures WHERE key = ?", entry.key)
        number = self._fill(entry, self._record(entry, result, time, settings).recognition)
        self.embeddings.copy(self._id(source), number)
        self._unplace(number)
        return source

    def _unplace(self, number: int) -> None:
        self._base.execute("INSERT OR IGNORE INTO unplaced VALUES (?)", (number,))

    def _fill(self, entry: Entry, recognition: Recognition) -> int:
        number = self._id(entry.key)
        self._base.execute("DELETE FROM postings")
        self._base.execute("DELETE FROM words WHERE rowid = ?", (number,))
        self._put_found(number, recognition, read_sidecar(entry.shown, entry.in_archive))
        path = os.fsencode(entry.shown).decode("utf-8", errors="replace")
        self._base.execute(
            "INSERT INTO words (rowid, caption, path) VALUES (?, ?, ?)", (number, recognition.caption, path)
        )
        return number

    def _put_found(self, number: int, recognition: Recognition, sidecar: Sidecar) -> None:
        """Store the tags of a picture: those that people did not refuse, and people's keywords with score 1."""
        self._base.execute("DELETE FROM found WHERE entry = ?", (number,))
        tags = [tag for tag in recognition.tags if tag.name.casefold() not in sidecar.refused]
        self._base.executemany(
            "INSERT OR IGNORE INTO tags (name, kind) VALUES (?, ?)", [(tag.name, tag.kind) for tag in tags]
        )
        self._base.executemany(
            "INSERT OR REPLACE INTO found SELECT id, ?, ? FROM tags WHERE name = ? AND kind = ?",
            [(number, float(tag.score), tag.name, tag.kind) for tag in tags],
        )
        for name in sidecar.people:
            # Prefer a tag of a model; other names get the kind of people's keywords.
            known = "SELECT id FROM tags WHERE name = ? COLLATE NOCASE ORDER BY kind = ?, id LIMIT 1"
            row = self._row(known, name, PEOPLE)
            if row is None:
                self._base.execute("INSERT INTO tags (name, kind) VALUES (?, ?)", (name, PEOPLE))
                row = self._row(known, name, PEOPLE)
            self._base.execute("INSERT OR REPLACE INTO found VALUES (?, ?, 1.0)", (row[0], number))

    def read_people(self, number: int) -> None:
        """Read a picture's sidecar again, and update the postings of the tags that changed.

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
        """Return what was found in a picture; ``None`` if there is no picture with this number."""
        row = self._row(
            "SELECT key, shown, size, modified, result, time, settings FROM pictures JOIN entries USING (key)"
            " WHERE entries.id = ? AND state = 'done'",
            number,
        )
        if row is None:
            return None
        entry = Entry.of_row(*row[:4])
        return self._record(replace(entry, shown=self.home.current(entry.shown)), *row[4:])

    def stored_thumbnail(self, number: int) -> bytes | None:
        """Return the stored thumbnail of a picture, unless its file changed."""
        row = self._row("SELECT key FROM entries WHERE id = ?", number)
        return None if row is None else self.thumbnails.of(bytes(row[0]))

    def _id(self, key: bytes) -> int:
        self._base.execute("INSERT OR IGNORE INTO entries (key) VALUES (?)", (key,))
        return int(self._row("SELECT id FROM entries WHERE key = ?", key)[0])

    def pack(self) -> None:
        """Store the postings of every tag for quick searches; changes to any picture delete them."""
        if self._is_packed():
            return
        everything = self._select_matched(_DONE).entries
        changed = np.intersect1d(self.unplaced(), everything)
        for name in ("picture", "text"):
            vectors = self.embeddings.read(name)
            self.graphs.update(name, vectors, everything[everything < len(vectors)], changed)
        with self.transaction():
            self._base.execute("DELETE FROM unplaced")
            self._base.execute("DELETE FROM postings")
            tags = [tag for (tag,) in self.rows("SELECT id FROM tags")]
            for tag in (EVERYTHING, *tags):
                matched = self.posting(tag)
                content = (matched.entries.tobytes(), matched.scores.tobytes())
                self._base.execute("INSERT INTO postings VALUES (?, ?, ?)", (tag, *content))

    def _is_packed(self) -> bool:
        [[packed, tags]] = self.rows("SELECT (SELECT count(*) FROM postings), (SELECT count(*) FROM tags)")
        return bool(packed == tags + 1)

    # -- reading ------------------------------------------------------------------------------------------------

    def posting(self, tag: int) -> Matched:
        """Return the pictures with a tag; for :data:`EVERYTHING` all that are done, with score 0."""
        row = self._row("SELECT entries, scores FROM postings WHERE tag = ?", tag)
        if row is not None:
            return Matched(np.frombuffer(row[0], np.int64), np.frombuffer(row[1], np.float32))
        if tag == EVERYTHING:
            return self._select_matched(_DONE)
        return self._select_matched("SELECT entry, score FROM found WHERE tag = ? ORDER BY entry", tag)

    def _select_matched(self, statement: str, *parameters: Any) -> Matched:
        table = np.array(self.rows(statement, parameters), np.float64).reshape(-1, 2)
        return Matched(table[:, 0].astype(np.int64), table[:, 1].astype(np.float32))

    def frequent_tags(self, most: int, among: NDArray[np.int64] | None = None) -> list[tuple[str, int]]:
        """Return the names of the most frequent tags, among all pictures or some, each with its number of pictures."""
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
        if len(among) > _FEW and self._is_packed():  # Faster by tag than by picture.
            counting = np.zeros(int(among.max()) + 1, bool)
            counting[among] = True
            for name, entries in self._base.execute("SELECT name, entries FROM postings JOIN tags ON tags.id = tag"):
                tagged = np.frombuffer(entries, np.int64)
                yield name, int(np.count_nonzero(counting[tagged[: np.searchsorted(tagged, len(counting))]]))
            return
        for start in range(0, len(among), 30_000):
            part = among[start : start + 30_000].tolist()
            yield from self.rows(
                "SELECT name, count(*) FROM found JOIN tags ON tags.id = tag"
                f" WHERE entry IN ({','.join('?' * len(part))}) GROUP BY tags.id",
                part,
            )

    def unplaced(self) -> NDArray[np.int64]:
        """Return the pictures whose vectors no graph of neighbors contains yet, in rising order."""
        try:
            rows = self.rows("SELECT entry FROM unplaced ORDER BY entry")
        except sqlite3.OperationalError:  # An index of an earlier version, open for reading.
            rows = []
        return np.array([row[0] for row in rows], np.int64)

    def paths(self, entries: Iterable[int]) -> dict[int, str]:
        """Return the paths of pictures, by their numbers."""
        found = {}
        for number in entries:
            row = self._row("SELECT shown FROM pictures JOIN entries USING (key) WHERE entries.id = ?", number)
            if row is not None:
                found[number] = self.home.current(os.fsdecode(row[0]))
        return found

    def __len__(self) -> int:
        return int(self._row("SELECT count(*) FROM pictures WHERE state = 'done'")[0])


class EmbeddingFiles:
    """Embeddings of an index, one row per picture: ``library.picture.f32`` and ``library.text.f32``.

    Rows are written before the picture is committed; a row without its picture is never read.
    """

    def __init__(self, path: Path):
        self._paths = {name: path.with_suffix(f".{name}.f32") for name in ("picture", "text")}
        self._width_path = path.with_suffix(".widths")

    def width(self, name: str) -> int:
        """Return the length of the vectors; 0 before the first.

        Raises:
            LibraryError: If the file with the lengths is damaged.
        """
        try:
            widths = dict(line.split() for line in self._width_path.read_text().splitlines())
            return int(widths.get(name, 0))
        except FileNotFoundError:
            return 0
        except ValueError:
            raise LibraryError(f"{self._width_path}: damaged; move the index away and make it again") from None

    def write(self, number: int, vectors: Embeddings) -> None:
        """Store a picture's embeddings.

        Raises:
            LibraryError: If the stored embeddings have another length, and so come from another model.
        """
        for name, vector in (("picture", vectors.picture), ("text", vectors.text)):
            if len(vector):
                self._check_width(name, len(vector))
                self._put(name, number, vector.astype("<f4").tobytes())

    def copy(self, source: int, target: int) -> None:
        """Give a picture the embeddings of another."""
        for name in self._paths:
            if self.width(name):
                self._put(name, target, self.read(name)[source].tobytes())

    def read(self, name: str) -> NDArray[np.float32]:
        """Return all rows ``[N, W]``, memory-mapped; row 0 and those of deleted pictures are meaningless."""
        width, path = self.width(name), self._paths[name]
        if not width or not path.exists():
            return np.zeros((0, max(width, 1)), np.float32)
        rows = path.stat().st_size // (4 * width)
        return np.memmap(path, "<f4", "r", shape=(rows, width))

    def clear(self) -> None:
        """Delete all embeddings."""
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
            with add_filename_to_errors(self._width_path), self._width_path.open("a") as file:
                file.write(f"{name} {width}\n")

    def _put(self, name: str, number: int, row: bytes) -> None:
        path = self._paths[name]
        with add_filename_to_errors(path), path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(number * len(row))
            file.write(row)
