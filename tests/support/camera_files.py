"""Camera files as cameras build them, around pictures made on the fly."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from picture_files import encode
from PIL import Image

SHORT, LONG, UNDEFINED = 3, 4, 7
_CODES = {1: "B", SHORT: "H", LONG: "I", UNDEFINED: "B"}
_SIZES = {1: 1, SHORT: 2, LONG: 4, UNDEFINED: 1}

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 0xFE, 0x100, 0x101, 0x102, 0x103, 0x106
MAKE, STRIPS, ORIENTATION, SAMPLES, ROWS, STRIP_BYTES = 0x10F, 0x111, 0x112, 0x115, 0x116, 0x117
SUB, JPEG, JPEG_BYTES, CFA_SIZE, CFA, DNG = 0x14A, 0x201, 0x202, 0x828D, 0x828E, 0xC612


@dataclass
class Page:
    """A directory: numbers by tag, pixels as one strip, a JPEG beside it, directories below it."""

    tags: dict[int, tuple[int, Sequence[int]]]
    strip: bytes = b""
    jpeg: bytes = b""
    below: list[Page] = field(default_factory=list)


def tiff(pages: Sequence[Page], order: str = "<", magic: bytes = b"") -> bytes:
    """A TIFF file of these pages."""
    content = bytearray(magic or (b"II*\0" if order == "<" else b"MM\0*"))
    content += bytes(4)
    link = 4
    for page in pages:
        place, following = _write(content, page, order)
        struct.pack_into(f"{order}I", content, link, place)
        link = following
    return bytes(content)


def _write(content: bytearray, page: Page, order: str) -> tuple[int, int]:
    """Write a page; where it stands, and where the place of the next one belongs."""
    tags = dict(page.tags)
    if page.below:
        tags[SUB] = (LONG, [_write(content, below, order)[0] for below in page.below])
    for data, where, length in ((page.strip, STRIPS, STRIP_BYTES), (page.jpeg, JPEG, JPEG_BYTES)):
        if data:
            tags[where], tags[length] = (LONG, [len(content)]), (LONG, [len(data)])
            content += data + bytes(len(data) % 2)
    entries = b""
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
        if len(packed) > 4:
            packed, rest = struct.pack(f"{order}I", len(content)), packed
            content += rest + bytes(len(rest) % 2)
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    place = len(content)
    content += struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return place, len(content) - 4


def shown(width: int, height: int) -> Image.Image:
    """A picture to recognize: dark above, bright below, red to the left."""
    pixels = np.full((height, width, 3), 30, np.uint8)
    pixels[height // 2 :] = 220
    pixels[:, : width // 4] = (200, 20, 20)
    return Image.fromarray(pixels)


def jpeg(width: int, height: int, **options: object) -> bytes:
    return encode(shown(width, height), "JPEG", quality=90, **options)


def thumbnail(orientation: int = 0, **more: tuple[int, Sequence[int]]) -> Page:
    """The first page of most camera files: 160 pixels of plain RGB."""
    tags = {
        SUBFILE_TYPE: (LONG, [1]),
        WIDTH: (LONG, [160]),
        HEIGHT: (LONG, [120]),
        BITS: (SHORT, [8, 8, 8]),
        COMPRESSION: (SHORT, [1]),
        PHOTOMETRIC: (SHORT, [2]),
        SAMPLES: (SHORT, [3]),
        ROWS: (LONG, [120]),
    }
    if orientation:
        tags[ORIENTATION] = (SHORT, [orientation])
    return Page(tags, strip=np.full((120, 160, 3), (0, 0, 255), np.uint8).tobytes())


def sensor(width: int = 1200, height: int = 800, strip: bytes = b"\x12\x34" * 4000, photometric: int = 32803) -> Page:
    """What the sensor saw: one color a pixel."""
    tags = {
        SUBFILE_TYPE: (LONG, [0]),
        WIDTH: (LONG, [width]),
        HEIGHT: (LONG, [height]),
        BITS: (SHORT, [16]),
        COMPRESSION: (SHORT, [1]),
        PHOTOMETRIC: (SHORT, [photometric]),
        SAMPLES: (SHORT, [1]),
        ROWS: (LONG, [height]),
        CFA_SIZE: (SHORT, [2, 2]),
        CFA: (1, [0, 1, 1, 2]),
    }
    return Page(tags, strip=strip)


def nef(preview: bytes, orientation: int = 0, order: str = ">") -> bytes:
    """Nikon: a thumbnail, and below it the preview and the sensor's page."""
    first = thumbnail(orientation)
    first.below = [Page({SUBFILE_TYPE: (LONG, [1]), COMPRESSION: (SHORT, [6])}, jpeg=preview), sensor()]
    return tiff([first], order)


def dng(preview: bytes | None, orientation: int = 0) -> bytes:
    """Adobe: as Nikon, but the preview is a strip of compression 7."""
    first = thumbnail(orientation)
    first.tags[DNG] = (1, [1, 4, 0, 0])
    first.below = [sensor()]
    if preview is not None:
        tags = {SUBFILE_TYPE: (LONG, [1]), COMPRESSION: (SHORT, [7]), PHOTOMETRIC: (SHORT, [6])}
        first.below.append(Page(tags, strip=preview))
    return tiff([first])


def cr2(preview: bytes) -> bytes:
    """Canon: the preview is the first page's only strip, then come the thumbnail and what the sensor saw."""
    first = Page({WIDTH: (SHORT, [960]), HEIGHT: (SHORT, [640]), COMPRESSION: (SHORT, [6])}, strip=preview)
    content = tiff([first, Page({}, jpeg=jpeg(160, 120)), sensor(strip=b"\xff\xd8\xff\xc4" + bytes(2000))])
    # Bytes 8 to 12 are Canon's own; everything behind them moves.
    return _shift(content, b"CR\2\0\0\0\0\0")


def _shift(content: bytes, inserted: bytes) -> bytes:
    """The file with bytes put in behind its header, places corrected."""
    moved = bytearray(content[:8] + inserted + content[8:])
    place = struct.unpack_from("<I", moved, 4)[0]
    struct.pack_into("<I", moved, 4, place + len(inserted))
    place += len(inserted)
    while place:
        (count,) = struct.unpack_from("<H", moved, place)
        for number in range(count):
            entry = place + 2 + 12 * number
            tag, kind, values, value = struct.unpack_from("<HHII", moved, entry)
            if tag in (STRIPS, JPEG) or _SIZES[kind] * values > 4:
                struct.pack_into("<I", moved, entry + 8, value + len(inserted))
        following = place + 2 + 12 * count
        (place,) = struct.unpack_from("<I", moved, following)
        if place:
            place += len(inserted)
            struct.pack_into("<I", moved, following, place)
    return bytes(moved)


def cr3(preview: bytes, orientation: int = 1) -> bytes:
    """Canon's newer kind: boxes, with a small TIFF for Exif and a JPEG among them."""
    exif = tiff([Page({ORIENTATION: (SHORT, [orientation])})])
    moov = box(b"moov", box(b"CMT1", exif) + box(b"THMB", bytes(16) + jpeg(160, 120)))
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + moov + box(b"uuid", bytes(24) + box(b"PRVW", bytes(16) + preview))


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def raf(preview: bytes) -> bytes:
    """Fujifilm: a header of its own with the preview behind it."""
    return (b"FUJIFILMCCD-RAW 0201FF383501" + bytes(120)) + preview + bytes(range(256)) * 40


def orf(preview: bytes) -> bytes:
    """Olympus: a number of its own in the header, the preview in notes that nobody documents."""
    first = sensor()
    first.tags[0x927C] = (UNDEFINED, list(b"OLYMPUS\0II\3\0" + preview))
    return tiff([first], magic=b"IIRO")


def rw2(preview: bytes) -> bytes:
    """Panasonic: the preview is the value of a tag."""
    first = sensor()
    first.tags[0x2E] = (UNDEFINED, list(preview))
    return tiff([first], magic=b"IIU\0")
