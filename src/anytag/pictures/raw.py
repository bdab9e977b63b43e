"""Camera files (RAW): the developed picture that every camera puts inside for its own screen.

The pixels of such a file are what the sensor saw, and every program develops them to its own taste. The preview inside
is the camera's own taste, mostly in full size, and is there at once. Where there is only a thumbnail, LibRaw develops
the file, if the extra ``raw`` is installed.
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

#: Pixels that the longer side of a preview must have. Thumbnails have 160 to 320, and show too little.
LEAST_SIDE = 480

#: First bytes of formats that are not TIFF, and who makes them.
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
#: Start-of-frame markers of JPEGs that hold pictures: baseline, extended and progressive, with Huffman codes.
_FRAMES = (0xC0, 0xC1, 0xC2)
#: Markers that may stand before it: tables, restart intervals, applications' data and comments.
_BEFORE_FRAME = frozenset((0xC4, 0xCC, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE))
_ORIENTATION = 0x0112

#: Previews that are looked for, and tried, the largest first; a damaged file may seem to hold thousands.
_MOST_FOUND, _MOST_TRIED = 1000, 4


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture inside a file.

    Attributes:
        content: A whole file of its own, JPEG or TIFF.
        size: Its width and height.
        is_camera: Whether it is one of a camera file, rather than a page of a plain TIFF.
        orientation: As in Exif, where the camera file says it; 0: as the preview itself says.
        is_cut_off: Whether the camera file ends before what the sensor saw.
    """

    content: BinaryIO
    size: tuple[int, int]
    is_camera: bool
    orientation: int = 0
    is_cut_off: bool = False


def raw_kind(head: bytes) -> str | None:
    """Who makes such a camera file, told by its first 16 bytes; ``None`` if it is none, or a TIFF like any other."""
    if head[4:12] == b"ftypcrx ":
        return "Canon CR3"
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR":
        return "Canon CR2"
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def largest_preview(stream: BinaryIO, *, is_raw: bool) -> Preview | None:
    """The largest developed picture in a camera file, or the page of a TIFF that is not a thumbnail.

    Args:
        stream: The file, seekable; left at an undefined place.
        is_raw: Whether it is known to be a camera file; otherwise a TIFF is one if a directory says so.

    Returns:
        ``None`` if it is not a camera file and its first page is what it seems. For a camera file the largest picture,
        however small it is; of size 0 if there is none.
    """
    directories = read_directories(stream)
    if not (is_raw or any(directory.is_undeveloped or directory.is_dng for directory in directories)):
        return _full_page(stream, directories)
    stream.seek(0)
    content = stream.read()
    orientation = next((one.orientation for one in directories if one.orientation), 0)
    candidates = list(_in_directories(content, directories))
    if max((max(one.size) for one in candidates), default=0) < LEAST_SIDE:
        # Olympus, Pentax and others keep it in notes of their own; files that are not TIFF, anywhere.
        candidates += itertools.islice(_scan(content, directories), _MOST_FOUND)
    found = _largest(content, candidates) or Preview(io.BytesIO(), (0, 0), True)
    orientation = found.orientation or orientation or _orientation_of_cr3(stream, content)
    undeveloped = (span for one in directories if one.is_undeveloped for span in one.pixels())
    return Preview(found.content, found.size, True, orientation, any(sum(span) > len(content) for span in undeveloped))


def develop(stream: BinaryIO, label: str, kind: str, size: tuple[int, int] | None) -> Image.Image:
    """Develop a camera file with LibRaw, at half its size.

    Raises:
        PictureError: If the extra is not installed, saying what the file holds instead; or if LibRaw fails.
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
    """Where a picture may be: a JPEG of some length (``None``: up to its end mark), or a page of a TIFF."""

    size: tuple[int, int]
    place: int
    length: int | None = None
    is_page: bool = False

    def cut_from(self, content: bytes) -> BinaryIO:
        if self.is_page:
            return _with_first_page(content, self.place)
        return io.BytesIO(content[self.place : None if self.length is None else self.place + self.length])


def _full_page(stream: BinaryIO, directories: list[Directory]) -> Preview | None:
    """What a TIFF that begins with a thumbnail is a thumbnail of."""
    if not directories or not directories[0].is_reduced:
        return None
    full = [one for one in directories if one.is_plain and not one.is_reduced]
    if not full:
        return None
    largest = max(full, key=lambda one: one.size[0] * one.size[1])
    stream.seek(0)
    # What a page says itself, the reader sees.
    orientation = 0 if largest.orientation else directories[0].orientation
    return Preview(_with_first_page(stream.read(), largest.place), largest.size, False, orientation)


def _with_first_page(content: bytes, place: int) -> BinaryIO:
    """A TIFF file whose first page is another one."""
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
    """Whatever looks like the start of a JPEG, but for the tiles in which some cameras store undeveloped pixels."""
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
    """The largest that opens; its orientation is what it says itself."""
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
    """Width and height of a JPEG that begins here; ``None`` if none does, or it is lossless (undeveloped pixels)."""
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
    """A CR3 keeps it in a small TIFF file of its own; 0 if there is none."""
    place = content.find(b"CMT1", 0, 1 << 20)
    directories = read_directories(stream, place + 4) if place >= 0 else []
    return next((one.orientation for one in directories if one.orientation), 0)
