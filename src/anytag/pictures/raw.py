"""Read camera files (RAW) by the preview that the camera embeds for its own screen.

The sensor data would have to be developed, which every program does differently. The preview is developed by the
camera, mostly full-size, and fast to read. If there is only a thumbnail, LibRaw develops the file, if the extra ``raw``
is installed.
"""

from __future__ import annotations

import bisect
import io
import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from anytag.errors import PictureError
from anytag.pictures.quiet import quiet_libraw
from anytag.pictures.tiff import Directory, read_directories

#: Least number of pixels of the longer side of a preview; thumbnails have 160 to 320.
LEAST_SIDE = 480

#: First bytes and names of formats that are not TIFF.
_MAGIC = {
    b"FUJIFILMCCD-RAW": "Fujifilm RAF",
    b"\0MRM": "Minolta MRW",
    b"FOVb": "Sigma X3F",
    b"II\x1a\0\0\0HEAPCCDR": "Canon CRW",
    b"IIRO": "Olympus ORF",
    b"IIRS": "Olympus ORF",
    b"MMOR": "Olympus ORF",
    b"IIU\0": "Panasonic RW2",
}

_START = b"\xff\xd8\xff"
#: Start-of-frame markers of lossy JPEGs: baseline, extended and progressive, with Huffman codes.
_FRAMES = (0xC0, 0xC1, 0xC2)
#: Markers that may precede them: tables, restart intervals, application data and comments.
_BEFORE_FRAME = frozenset((0xC4, 0xCC, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE))
_ORIENTATION = 0x0112

#: Most candidates for previews, and most that are opened, largest first; damaged files may seem to have thousands.
_MOST_FOUND, _MOST_TRIED = 1000, 4


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture embedded in a file.

    Attributes:
        content: A complete JPEG or TIFF file.
        is_camera: Whether it is from a camera file, not a page of a plain TIFF.
        orientation: Exif orientation of the camera file; 0: use that of the preview.
        is_cut_off: Whether the camera file ends before the sensor data do.
    """

    content: BinaryIO
    size: tuple[int, int]
    is_camera: bool
    orientation: int = 0
    is_cut_off: bool = False


def raw_kind(head: bytes) -> str | None:
    """The format of a camera file, by its first 16 bytes; ``None`` for other files, and for TIFFs."""
    if head[4:12] == b"ftypcrx ":
        return "Canon CR3"
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR":
        return "Canon CR2"
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def largest_preview(stream: BinaryIO, *, is_raw: bool) -> Preview | None:
    """Find the largest preview of a camera file, or the full page of a TIFF that starts with a thumbnail.

    Args:
        stream: The file, seekable; its position changes.
        is_raw: Whether it is known to be a camera file; otherwise this is decided by its directories.

    Returns:
        ``None`` for other TIFFs. For a camera file the largest preview, however small; of size 0 if there is none.
    """
    directories = read_directories(stream)
    if not (is_raw or any(directory.is_undeveloped or directory.is_dng for directory in directories)):
        return _full_page(stream, directories)
    stream.seek(0)
    content = stream.read()
    orientation = next((one.orientation for one in directories if one.orientation), 0)
    candidates = list(_in_directories(content, directories))
    if max((max(one.size) for one in candidates), default=0) < LEAST_SIDE:
        # Olympus, Pentax and others store it in maker notes; formats that are not TIFF, anywhere.
        candidates += itertools.islice(_scan(content, directories), _MOST_FOUND)
    found = _largest(content, candidates) or Preview(io.BytesIO(), (0, 0), True)
    orientation = found.orientation or orientation or _orientation_of_cr3(stream, content)
    undeveloped = (span for one in directories if one.is_undeveloped for span in one.pixels())
    return Preview(found.content, found.size, True, orientation, any(sum(span) > len(content) for span in undeveloped))


def develop(stream: BinaryIO, label: str, kind: str, size: tuple[int, int] | None) -> Image.Image:
    """Develop a camera file with LibRaw, at half its size.

    Raises:
        PictureError: If the extra is not installed, or LibRaw fails.
    """
    inside = f"whose only preview has {size[0]} x {size[1]} pixels" if size else "without a preview"
    try:
        import rawpy
    except ImportError as error:
        message = (
            f"{label}: a camera file ({kind}) {inside}. To develop it, install the decoder: pip install 'anytag[raw]'. "
            "Or save it as JPEG elsewhere."
        )
        raise PictureError("unreadable", label, message) from error
    stream.seek(0)
    try:
        with quiet_libraw(), rawpy.imread(stream) as opened:
            return Image.fromarray(opened.postprocess(half_size=True, use_camera_wb=True))
    except Exception as error:
        reason = error.args[0] if error.args else error
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        message = f"{label}: a camera file ({kind}) {inside}, which cannot be developed ({reason})."
        raise PictureError("unreadable", label, message) from error


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A possible preview: a JPEG of some length (``None``: until its end mark), or a page of a TIFF."""

    size: tuple[int, int]
    place: int
    length: int | None = None
    is_page: bool = False

    def cut_from(self, content: bytes) -> BinaryIO:
        if self.is_page:
            return _with_first_page(content, self.place)
        return io.BytesIO(content[self.place : None if self.length is None else self.place + self.length])


def _full_page(stream: BinaryIO, directories: list[Directory]) -> Preview | None:
    """The full-size page of a TIFF that starts with a thumbnail."""
    if not directories or not directories[0].is_reduced:
        return None
    full = [one for one in directories if one.is_plain and not one.is_reduced]
    if not full:
        return None
    largest = max(full, key=lambda one: one.size[0] * one.size[1])
    stream.seek(0)
    # The reader applies the orientation of the page itself.
    orientation = 0 if largest.orientation else directories[0].orientation
    return Preview(_with_first_page(stream.read(), largest.place), largest.size, False, orientation)


def _with_first_page(content: bytes, place: int) -> BinaryIO:
    """A TIFF file with another page as its first."""
    result = io.BytesIO(content)
    result.seek(4)
    result.write(place.to_bytes(4, "little" if content[:2] == b"II" else "big"))
    result.seek(0)
    return result


def _in_directories(content: bytes, directories: list[Directory]) -> Iterator[_Candidate]:
    for directory in directories:
        if directory.is_undeveloped:
            continue
        for place, length in directory.jpegs():
            if (size := jpeg_size(content, place)) is not None:
                yield _Candidate(size, place, length)
        if directory.is_plain and content[:4] in (b"II*\0", b"MM\0*"):
            yield _Candidate(directory.size, directory.place, is_page=True)


def _scan(content: bytes, directories: list[Directory]) -> Iterator[_Candidate]:
    """Everything that looks like the start of a JPEG, except tiles of sensor data."""
    undeveloped = sorted(span for one in directories if one.is_undeveloped for span in one.pixels())
    place = content.find(_START)
    while place >= 0:
        size = jpeg_size(content, place)
        before = bisect.bisect_right(undeveloped, (place, len(content)))
        inside = before > 0 and place < sum(undeveloped[before - 1])
        if size is not None and not inside:
            yield _Candidate(size, place)
        place = content.find(_START, place + 3)


def _largest(content: bytes, candidates: list[_Candidate]) -> Preview | None:
    """The largest candidate that opens, with its own orientation."""
    ordered = sorted(candidates, key=lambda one: one.size[0] * one.size[1], reverse=True)
    for candidate in ordered[:_MOST_TRIED]:
        stream = candidate.cut_from(content)
        try:
            with Image.open(stream, formats=("JPEG", "TIFF")) as opened:
                orientation, size = opened.getexif().get(_ORIENTATION, 0), opened.size
        except Exception:
            continue
        stream.seek(0)
        return Preview(stream, size, True, orientation if isinstance(orientation, int) else 0)
    return None


def jpeg_size(content: bytes, place: int) -> tuple[int, int] | None:
    """Width and height of a JPEG that starts here; ``None`` if there is none, or it is lossless (sensor data)."""
    if content[place : place + 3] != _START:
        return None
    place += 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", content, place + 5)
            return (width, height) if content[place + 4] == 8 and width and height else None
        if marker not in _BEFORE_FRAME or length < 2:
            return None
        place += 2 + length
    return None


def _orientation_of_cr3(stream: BinaryIO, content: bytes) -> int:
    """Orientation of a CR3, from its embedded small TIFF file; 0 if there is none."""
    place = content.find(b"CMT1", 0, 1 << 20)
    directories = read_directories(stream, place + 4) if place >= 0 else []
    return next((one.orientation for one in directories if one.orientation), 0)
