"""Captions that were parsed before: each is parsed once, however many epochs, passes and restarts read it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import cast

from anytag.foundations.cpu_count import available_processors
from anytag.language.parsing.parser import CaptionParser
from anytag.language.parsing.rules import ParsedTag
from anytag.recognition import TagKind

#: Captions that are looked up at a time.
_CHUNK = 500

#: New captions that are kept in memory before they are written.
_PENDING = 2000


class ParsedCaptions:
    """A caption parser that keeps what it has parsed in a file.

    Several threads and processes may share the file. What a killed process had not written yet is parsed again; a
    damaged file is begun anew.

    Args:
        parser: Reads the captions that are new.
        folder: Where the file is kept; its name holds the parser's, since parsers differ in what they find.

    Attributes:
        name: The parser's.
        path: The file, an SQLite database.
        parsed: Captions that this object had parsed.
    """

    def __init__(self, parser: CaptionParser, folder: Path):
        self.name = parser.name
        self.parsed = 0
        self._parser = parser
        self._lock = threading.Lock()
        self._pending: dict[bytes, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"parsed-{parser.name}.sqlite"
        try:
            self._file = _open(self.path)
        except sqlite3.DatabaseError:
            self.path.unlink()
            self._file = _open(self.path)

    def parse(self, caption: str) -> list[ParsedTag]:
        """Tags of one caption, in order of appearance, without duplicates."""
        return self._parse([caption])[0]

    def parse_many(self, captions: Iterable[str], workers: int = 1) -> Iterator[list[ParsedTag]]:
        """Tags of many captions, in their order, as a stream.

        Args:
            captions: Any iterable; it is read only a little ahead of what is handed out.
            workers: Processes that parse what is new; 1 parses in this one.
        """
        rest = iter(captions)
        size = _CHUNK * min(workers, max(2, available_processors()))
        while chunk := list(islice(rest, size)):
            yield from self._parse(chunk, workers)
        self.flush()

    def flush(self) -> None:
        """Write what was parsed. Without room on the disk it is parsed again another time."""
        with self._lock:
            self._write()

    def _parse(self, captions: list[str], workers: int = 1) -> list[list[ParsedTag]]:
        with self._lock:
            keys = [hashlib.blake2b(caption.encode(), digest_size=16).digest() for caption in captions]
            found = self._known(keys)
            new = {key: caption for key, caption in zip(keys, captions, strict=True) if key not in found}
            if new:
                for key, tags in zip(new, self._parser.parse_many(new.values(), workers), strict=True):
                    found[key] = self._pending[key] = _written(tags)
                self.parsed += len(new)
                if len(self._pending) >= _PENDING:
                    self._write()
        return [_read(found[key]) for key in keys]

    def _known(self, keys: list[bytes]) -> dict[bytes, str]:
        found = {key: self._pending[key] for key in keys if key in self._pending}
        wanted = [key for key in keys if key not in found]
        marks = ",".join("?" * len(wanted))
        with suppress(sqlite3.OperationalError):  # Another process writes for very long: parse them instead.
            found |= dict(self._file.execute(f"SELECT caption, tags FROM parsed WHERE caption IN ({marks})", wanted))
        return found

    def _write(self) -> None:
        with suppress(sqlite3.OperationalError), self._file:
            self._file.executemany("INSERT OR IGNORE INTO parsed VALUES (?, ?)", self._pending.items())
            self._pending.clear()


def _open(path: Path) -> sqlite3.Connection:
    # Threads take turns; other processes are waited for.
    file = sqlite3.connect(path, timeout=60, check_same_thread=False)
    with file:
        file.execute("CREATE TABLE IF NOT EXISTS parsed (caption BLOB PRIMARY KEY, tags TEXT) WITHOUT ROWID")
    return file


def _written(tags: list[ParsedTag]) -> str:
    return json.dumps([(tag.name, tag.kind) for tag in tags], ensure_ascii=False)


def _read(tags: str) -> list[ParsedTag]:
    return [ParsedTag(name, cast(TagKind, kind)) for name, kind in json.loads(tags)]
