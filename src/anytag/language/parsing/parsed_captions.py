"""A file of parsed captions, so that epochs, passes and restarts parse each caption once."""

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

#: Captions per lookup.
_CHUNK = 500

#: New captions that are buffered before they are written.
_PENDING = 2000


class ParsedCaptions:
    """A caption parser that stores its results in an SQLite file.

    Several threads and processes may share the file. Results that a killed process had not written are parsed again; a
    damaged file is replaced.

    Args:
        folder: The file's folder; its name contains the parser's, since parsers differ in their results.

    Attributes:
        parsed: Number of captions that this object has parsed.
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
        return self._parse([caption])[0]

    def parse_many(self, captions: Iterable[str], workers: int = 1) -> Iterator[list[ParsedTag]]:
        """Parse captions lazily; see :meth:`CaptionParser.parse_many`."""
        rest = iter(captions)
        size = _CHUNK * min(workers, max(2, available_processors()))
        while chunk := list(islice(rest, size)):
            yield from self._parse(chunk, workers)
        self.flush()

    def flush(self) -> None:
        """Write new results. On a full disk they are dropped, and parsed again next time."""
        with self._lock:
            self._write()

    def _parse(self, captions: list[str], workers: int = 1) -> list[list[ParsedTag]]:
        with self._lock:
            keys = [hashlib.blake2b(caption.encode(), digest_size=16).digest() for caption in captions]
            found = self._known(keys)
            new = {key: caption for key, caption in zip(keys, captions, strict=True) if key not in found}
            if new:
                for key, tags in zip(new, self._parser.parse_many(new.values(), workers), strict=True):
                    found[key] = self._pending[key] = _encode(tags)
                self.parsed += len(new)
                if len(self._pending) >= _PENDING:
                    self._write()
        return [_decode(found[key]) for key in keys]

    def _known(self, keys: list[bytes]) -> dict[bytes, str]:
        found = {key: self._pending[key] for key in keys if key in self._pending}
        wanted = [key for key in keys if key not in found]
        marks = ",".join("?" * len(wanted))
        with suppress(sqlite3.OperationalError):  # Locked for too long: parse them again.
            found |= dict(self._file.execute(f"SELECT caption, tags FROM parsed WHERE caption IN ({marks})", wanted))
        return found

    def _write(self) -> None:
        with suppress(sqlite3.OperationalError), self._file:
            self._file.executemany("INSERT OR IGNORE INTO parsed VALUES (?, ?)", self._pending.items())
            self._pending.clear()


def _open(path: Path) -> sqlite3.Connection:
    # A lock keeps threads apart, the timeout other processes.
    file = sqlite3.connect(path, timeout=60, check_same_thread=False)
    with file:
        file.execute("CREATE TABLE IF NOT EXISTS parsed (caption BLOB PRIMARY KEY, tags TEXT) WITHOUT ROWID")
    return file


def _encode(tags: list[ParsedTag]) -> str:
    return json.dumps([(tag.name, tag.kind) for tag in tags], ensure_ascii=False)


def _decode(tags: str) -> list[ParsedTag]:
    return [ParsedTag(name, cast(TagKind, kind)) for name, kind in json.loads(tags)]
