"""Read the directories of a TIFF file: its pages, and their subdirectories, in which cameras store previews."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

#: Length of a value in bytes, by type.
TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}

#: Byte orders of :mod:`struct` by a file's first four bytes. Olympus and Panasonic have their own magic numbers.
BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"IIRO": "<", b"IIRS": "<", b"MMOR": ">", b"IIU\0": "<"}

_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 0xFE, 0x100, 0x101, 0x102, 0x103, 0x106
_STRIPS, _ORIENTATION, _STRIP_BYTES = 0x111, 0x112, 0x117
_TILES, _TILE_BYTES, _SUB_DIRECTORIES, _JPEG, _JPEG_BYTES = 0x144, 0x145, 0x14A, 0x201, 0x202
_DNG_VERSION = 0xC612

_WANTED = frozenset(
    {
        *(_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _STRIP_BYTES),
        *(_TILES, _TILE_BYTES, _SUB_DIRECTORIES, _JPEG, _JPEG_BYTES, _DNG_VERSION),
    }
)

#: Format characters of :mod:`struct` for integer types.
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}

#: Photometric interpretations of sensor data: color filter array, linear raw.
_UNDEVELOPED = (32803, 34892)

#: Most directories, and most values of one tag, that are read; damaged files may claim billions.
_MOST_DIRECTORIES, _MOST_VALUES = 64, 65536


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory, which describes one picture.

    Attributes:
        place: Position in the file.
    """

    place: int
    tags: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def number(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        return next(iter(self.tags.get(tag, ())), default)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.number(_WIDTH), self.number(_HEIGHT)

    @property
    def is_reduced(self) -> bool:
        """Whether it is marked as a reduced version of another picture."""
        return bool(self.number(_SUBFILE_TYPE) & 1)

    @property
    def is_undeveloped(self) -> bool:
        """Whether it contains sensor data."""
        return self.number(_PHOTOMETRIC, -1) in _UNDEVELOPED

    @property
    def is_dng(self) -> bool:
        """Whether it is a digital negative."""
        return _DNG_VERSION in self.tags

    @property
    def orientation(self) -> int:
        """Exif orientation; 0 if there is none."""
        return self.number(_ORIENTATION)

    @property
    def is_plain(self) -> bool:
        """Whether ordinary TIFF readers support it: 8 or 16 bits, gray or color, no old-style JPEG."""
        return (
            self.number(_PHOTOMETRIC, -1) in (0, 1, 2, 3, 5, 6)
            and self.number(_BITS, 1) in (1, 8, 16)
            and self.number(_COMPRESSION, 1) != 6
            and bool(self.tags.keys() & {_STRIPS, _TILES})
        )

    def jpegs(self) -> Iterator[tuple[int, int]]:
        """Position and length of possible JPEGs."""
        yield from zip(self.tags.get(_JPEG, ()), self.tags.get(_JPEG_BYTES, ()), strict=False)
        if self.number(_COMPRESSION) in (6, 7) and not self.is_undeveloped and len(self.tags.get(_STRIPS, ())) == 1:
            yield from zip(self.tags[_STRIPS], self.tags.get(_STRIP_BYTES, ()), strict=False)

    def pixels(self) -> Iterator[tuple[int, int]]:
        """Position and length of strips and tiles."""
        yield from zip(self.tags.get(_STRIPS, ()), self.tags.get(_STRIP_BYTES, ()), strict=False)
        yield from zip(self.tags.get(_TILES, ()), self.tags.get(_TILE_BYTES, ()), strict=False)


def byte_order(head: bytes) -> str | None:
    """The byte order of a TIFF file, by its first four bytes, for :mod:`struct`; ``None`` for other files."""
    return BYTE_ORDERS.get(head[:4])


def read_directories(stream: BinaryIO, start: int = 0) -> list[Directory]:
    """Read all directories and subdirectories of a file, each once; damaged ones as far as possible.

    Args:
        stream: The file, seekable; its position changes.
        start: Position of the TIFF file in it; other positions are relative to it.
    """
    reader = _Reader(stream, start)
    order = byte_order(reader.read(0, 4))
    if order is None:
        return []
    reader.order = order
    found: list[Directory] = []
    seen: set[int] = set()
    pending = [reader.long(4)]
    while pending and len(found) < _MOST_DIRECTORIES:
        place = pending.pop(0)
        if place in seen or place < 8:
            continue
        seen.add(place)
        directory, following = _read(reader, place)
        if directory.tags:
            found.append(directory)
        pending += [*directory.tags.get(_SUB_DIRECTORIES, ())[:_MOST_DIRECTORIES], following]
    return found


@dataclass
class _Reader:
    """Reads a TIFF file within a stream."""

    stream: BinaryIO
    start: int
    order: str = "<"

    def read(self, place: int, length: int) -> bytes:
        self.stream.seek(self.start + place)
        return self.stream.read(length)

    def long(self, place: int) -> int:
        content = self.read(place, 4)
        return int(struct.unpack(f"{self.order}I", content)[0]) if len(content) == 4 else 0


def _read(reader: _Reader, place: int) -> tuple[Directory, int]:
    """Read a directory, and the position of the next (0: none)."""
    directory = Directory(place)
    head = reader.read(place, 2)
    if len(head) < 2:
        return directory, 0
    (count,) = struct.unpack(f"{reader.order}H", head)
    entries = reader.read(place + 2, 12 * count)
    for tag, kind, values, value in struct.iter_unpack(f"{reader.order}HHI4s", entries[: len(entries) // 12 * 12]):
        code = _CODES.get(kind)
        if tag not in _WANTED or code is None or not 0 < values <= _MOST_VALUES:
            continue
        length = TYPE_SIZES[kind] * values
        content = value[:length]
        if length > 4:
            content = reader.read(struct.unpack(f"{reader.order}I", value)[0], length)
        if len(content) == length:
            directory.tags.setdefault(tag, struct.unpack(f"{reader.order}{values}{code}", content))
    return directory, reader.long(place + 2 + 12 * count)
