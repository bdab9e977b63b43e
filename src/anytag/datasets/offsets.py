"""Indexes of the records in large files: byte offsets, so that a row costs bytes rather than an object."""

from __future__ import annotations

import csv
import io
import json
import mmap
import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anytag.errors import SampleError, UsageError

Offsets = npt.NDArray[np.int64]

_CHUNK = 1 << 20
#: A quoted field may span lines; if it is longer than this, its closing quote is missing.
_LONGEST_RECORD = 1 << 20

_NEWLINE, _QUOTE, _BACKSLASH = 10, 34, 92
#: The change of JSON's nesting depth at each byte.
_DEPTH = np.zeros(256, np.int8)
_DEPTH[[ord("["), ord("{")]] = 1
_DEPTH[[ord("]"), ord("}")]] = -1


class Records:
    """The raw records of a file, by index.

    Attributes:
        starts: Offset of each record's first byte.
        ends: Offset after each record.
        lines: Line of each record, from 1; ``None`` if the file is not read by lines.
    """

    def __init__(self, path: Path, starts: Offsets, ends: Offsets, lines: npt.NDArray[np.uint32] | None = None):
        self.path, self.starts, self.ends, self.lines = path, starts, ends, lines

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> bytes:
        """Read one record's bytes.

        Raises:
            SampleError: If the file cannot be read any longer.
        """
        # Opened for each record: threads and forked processes would share an open file's position.
        try:
            with self.path.open("rb", buffering=0) as handle:
                handle.seek(int(self.starts[index]))
                return handle.read(int(self.ends[index] - self.starts[index]))
        except OSError as error:
            raise SampleError("unreadable", f"the file cannot be read ({error.strerror or error})") from error

    def place(self, index: int) -> str:
        """Return a record's place for messages: file and line, or file and number."""
        return f"{self.path.name}:{index + 1 if self.lines is None else self.lines[index]}"


class PackedStrings:
    """Many strings in one block of bytes."""

    def __init__(self, strings: Iterable[str]):
        content, ends = bytearray(), array("q", [0])
        for string in strings:
            content += string.encode("utf-8", "surrogateescape")
            ends.append(len(content))
        self._content = bytes(content)
        self._ends = np.array(ends)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return self._content[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogateescape")


def index_lines(path: Path, quoted: bool = False, delimiter: str = ",") -> Records:
    """Find the lines of a text file; blank lines belong to the line before.

    Args:
        path: A file in UTF-8.
        quoted: Line breaks inside double quotes belong to the field. A missing closing quote affects only its own line.
        delimiter: Separator of fields, for ``quoted``.

    Raises:
        UsageError: If the file cannot be opened or is not in UTF-8.
    """
    starts, odd = _lines(path)
    size = starts[-1]
    keep = ~_blank(path, starts)
    if quoted:
        keep &= ~_continued(path, starts, odd, delimiter)
    lines = np.flatnonzero(keep)
    bounds = np.append(starts[:-1][lines], size)
    if len(lines) and bounds[0] == 0 and _has_mark(path):
        bounds[0] = 3
    return Records(path, bounds[:-1], bounds[1:], (lines + 1).astype(np.uint32))


def _open(path: Path) -> Iterator[bytes]:
    """Read the file in large chunks."""
    try:
        with path.open("rb") as handle:
            while chunk := handle.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise UsageError(f"{path}: the file cannot be read ({error.strerror or error})") from error


def _lines(path: Path) -> tuple[Offsets, npt.NDArray[np.int64]]:
    """Return the start of every line, followed by the file's size, and the lines with an odd number of quotes."""
    pieces = [np.zeros(1, np.int64)]
    odd: list[npt.NDArray[np.int64]] = []
    at = lines = pending = 0
    for chunk in _open(path):
        if at == 0 and chunk[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise UsageError(f"{path}: the file is in UTF-16; save it as UTF-8")
        content = np.frombuffer(chunk, np.uint8)
        breaks = np.flatnonzero(content == _NEWLINE)
        quotes = np.searchsorted(breaks, np.flatnonzero(content == _QUOTE))
        counts = np.bincount(quotes, minlength=len(breaks) + 1)
        counts[0] += pending
        odd.append(np.flatnonzero(counts[:-1] & 1) + lines)
        pieces.append(breaks + (at + 1))
        pending = int(counts[-1])
        lines += len(breaks)
        at += len(chunk)
    if pending & 1:
        odd.append(np.array([lines]))
    starts = np.concatenate(pieces)
    if starts[-1] != at:
        starts = np.append(starts, at)
    return starts, np.concatenate(odd) if odd else np.empty(0, np.int64)


def _blank(path: Path, starts: Offsets) -> npt.NDArray[np.bool_]:
    """Return which lines are empty."""
    lengths = np.diff(starts)
    blank = np.zeros(len(lengths), bool)
    with path.open("rb") as handle:
        for line in np.flatnonzero((lengths == 1) | (lengths == 2)):
            handle.seek(starts[line])
            blank[line] = not handle.read(int(lengths[line])).strip()
    return blank


def _continued(path: Path, starts: Offsets, odd: npt.NDArray[np.int64], delimiter: str) -> npt.NDArray[np.bool_]:
    """Return which lines continue a quoted field of the line before."""
    continued = np.zeros(len(starts) - 1, bool)
    with path.open("rb") as handle:

        def is_open(first: int, last: int) -> bool:
            handle.seek(starts[first])
            return is_unclosed(handle.read(int(starts[last + 1] - starts[first])), delimiter)

        place = 0
        while place < len(odd):
            first = int(odd[place])
            place += 1
            if not is_open(first, first):
                continue
            # Only another line with an odd number of quotes can close the field.
            for other in range(place, len(odd)):
                last = int(odd[other])
                if starts[last + 1] - starts[first] > _LONGEST_RECORD:
                    break
                if not is_open(first, last):
                    continued[first + 1 : last + 1] = True
                    place = other + 1
                    break
    return continued


def is_unclosed(record: bytes, delimiter: str) -> bool:
    """Return whether a record ends inside a quoted field."""
    text = record.decode("utf-8", "replace")
    try:
        list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def _has_mark(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(3) == b"\xef\xbb\xbf"


def index_objects(path: Path) -> dict[str, Records]:
    """Find the objects in a JSON file's arrays, without loading the file into memory.

    Args:
        path: A JSON file whose root is an array of objects, or an object with such arrays among its values.

    Returns:
        The objects of the root array under ``""``, or of each array under its key.

    Raises:
        UsageError: If the root is something else, or the file is truncated.
    """
    root = b""
    depth, inside, at = 0, 0, 0
    wanted = 2
    begins: list[Offsets] = []
    ends: list[Offsets] = []
    arrays: list[Offsets] = []
    closed: list[Offsets] = []
    for chunk in _whole_escapes(path):
        if not root:
            root = chunk.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
            if root not in (b"[", b"{"):
                raise UsageError(f"{path}: not a JSON array or object; JSON lines end in .jsonl")
            wanted = 2 if root == b"[" else 3
        content = np.frombuffer(chunk, np.uint8)
        quotes = _real_quotes(content)
        within = (np.cumsum(quotes, dtype=np.uint8) & 1) ^ inside
        inside = int(within[-1])
        brackets = np.flatnonzero((_DEPTH[content] != 0) & (within == 0))
        steps = _DEPTH[content[brackets]]
        depths = depth + np.cumsum(steps, dtype=np.int64)
        curly = content[brackets] >= ord("{")
        begins.append(brackets[(steps > 0) & (depths == wanted) & curly] + at)
        ends.append(brackets[(steps < 0) & (depths == wanted - 1) & curly] + (at + 1))
        if wanted == 3:
            arrays.append(brackets[(steps > 0) & (depths == 2) & ~curly] + at)
            closed.append(brackets[(steps < 0) & (depths == 1) & ~curly] + at)
        depth = int(depths[-1]) if len(depths) else depth
        at += len(chunk)
    if not root:
        raise UsageError(f"{path}: the file is empty")
    if depth or inside:
        raise UsageError(f"{path}: the JSON ends before it is complete; copy or download the file again")
    starts, stops = np.concatenate(begins), np.concatenate(ends)
    if wanted == 2:
        return {"": Records(path, starts, stops)}
    found: dict[str, Records] = {}
    for first, last in zip(np.concatenate(arrays), np.concatenate(closed), strict=True):
        low, high = np.searchsorted(starts, (first, last))
        found[_key_before(path, int(first))] = Records(path, starts[low:high], stops[low:high])
    return found


def _whole_escapes(path: Path) -> Iterator[bytes]:
    """Read the file in chunks that never separate a backslash from the character that it escapes."""
    kept = b""
    for chunk in _open(path):
        chunk = kept + chunk
        cut = len(chunk.rstrip(b"\\"))
        kept, chunk = chunk[cut:], chunk[:cut]
        if chunk:
            yield chunk
    if kept:
        yield kept


def _real_quotes(content: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which bytes are quotes that begin or end a string: those after an even number of backslashes."""
    quotes: npt.NDArray[np.bool_] = content == _QUOTE
    back = content == _BACKSLASH
    doubtful = np.flatnonzero(quotes[1:] & back[:-1]) + 1
    if len(doubtful):
        other = np.where(back, -1, np.arange(len(content), dtype=np.int32))
        run = doubtful - 1 - np.maximum.accumulate(other)[doubtful - 1]
        quotes[doubtful[run % 2 == 1]] = False
    return quotes


def _key_before(path: Path, offset: int) -> str:
    """Return the key of the value at an offset."""
    with path.open("rb") as handle:
        handle.seek(max(0, offset - 1024))
        before = handle.read(min(offset, 1024))
    found = re.search(rb'"((?:[^"\\]|\\.)*)"\s*:\s*$', before)
    return str(json.loads(b'"' + found[1] + b'"')) if found else ""


def read_spans(records: Records) -> Iterator[bytes]:
    """Yield all records, faster than one by one."""
    if not len(records):
        return
    with records.path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for start, end in zip(records.starts, records.ends, strict=True):
            yield content[start:end]
