"""What a file's bytes say: whether it is a picture at all, and whether its end is missing.

Decoders give the same vague error for a damaged file and for one cut off in a copy or download; the difference
matters to the person who has to repair it.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from PIL import Image

from anytag.pictures.tiff import BYTE_ORDERS, TYPE_SIZES

#: First bytes of a format, and the last bytes of a whole file of it.
_MARKS = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG", b"IEND\xaeB`\x82"))


#: First bytes of others. Those of camera files stand in :mod:`anytag.pictures.tiff` and :mod:`anytag.pictures.raw`.
_PHOTOSHOP, _JPEG_2000, _FUJIFILM = b"8BPS\0\1", b"\xff\x4f\xff\x51", b"FUJIFILMCCD-RAW"

#: Bytes of Photoshop's header, and where Fujifilm's says what is where.
_PHOTOSHOP_HEADER, _FUJIFILM_PARTS = 26, 84

#: Names of the first box of files that are made of boxes.
_BOXES = (b"ftyp", b"jP  ", b"JXL ")

#: Bytes at the end of a file that are not all zero in a whole one; of small files a quarter, but no fewer than this.
_EMPTY_END, _LEAST_EMPTY = 4096, 64

#: Pixels that a byte can stand for in each format, generously: what compresses best is one color everywhere.
_MOST_PER_BYTE = {"PNG": 8 * 1032, "GIF": 4096, "JPEG": 20_000, "MPO": 20_000, "JPEG2000": 20_000}
_MOST_PER_BYTE_TIFF = {"raw": 8, "packbits": 512, "tiff_lzw": 32_768, "tiff_adobe_deflate": 8256, "jpeg": 20_000}

#: Smaller pictures are decoded whatever they say: they need little memory.
_HARMLESS_PIXELS = 16_000_000


def can_hold(picture: Image.Image, stream: BinaryIO) -> bool:
    """Whether a file is long enough for the pixels that its header announces.

    A decoder takes memory for all of them before it looks for the first.

    Args:
        picture: Opened, not yet decoded.
        stream: Its file; it comes back where it was.
    """
    width, height = picture.size
    if width * height <= _HARMLESS_PIXELS:
        return True
    most: int | None = _MOST_PER_BYTE.get(picture.format or "")
    if picture.format == "TIFF":
        most = _MOST_PER_BYTE_TIFF.get(str(picture.info.get("compression")))
    elif picture.format in ("BMP", "PPM"):
        most = 8 if all(tile[0] == "raw" for tile in getattr(picture, "tile", ())) else None
    if most is None:
        return True
    place = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    stream.seek(place)
    return width * height <= size * most


def is_known(head: bytes) -> bool:
    """Whether a file's first 12 bytes or more are those of a picture format that is read here."""
    starts = (*(start for start, _ in _MARKS), *BYTE_ORDERS, b"GIF8", b"RIFF", b"BM", _PHOTOSHOP, _JPEG_2000)
    return head.startswith(starts) or head[4:8] in _BOXES


def ends_empty(stream: BinaryIO) -> bool:
    """Whether a file ends in zeros, as downloads do that reserve their space and stop.

    Only asked of formats that never end so, or of files that failed to decode.

    Args:
        stream: The file, seekable; left at an undefined place.
    """
    size = stream.seek(0, io.SEEK_END)
    length = min(_EMPTY_END, size // 4)
    stream.seek(size - length)
    return length >= _LEAST_EMPTY and not stream.read(length).strip(b"\0")


def is_cut_off(stream: BinaryIO) -> bool:
    """Whether a file is shorter than its own header says, or lacks its end mark.

    Only asked of files that failed to decode: there are whole ones with something behind the end mark.

    Args:
        stream: The file, seekable; left at an undefined place.
    """
    if ends_empty(stream):
        return True
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - 12))
    tail = stream.read()
    stream.seek(0)
    head = stream.read(16)
    for start, end in _MARKS:
        if head.startswith(start):
            return not tail.rstrip(b"\0").endswith(end)
    if head[:4] == b"GIF8":
        return _is_gif_cut_off(stream)
    if head[:4] == b"RIFF":
        return int.from_bytes(head[4:8], "little") + 8 > size
    if head[:2] == b"BM":
        return int.from_bytes(head[2:6], "little") > size
    if head[:4] in BYTE_ORDERS:
        return _is_tiff_cut_off(stream, size, BYTE_ORDERS[head[:4]])
    if head.startswith(_PHOTOSHOP):
        return size < _PHOTOSHOP_HEADER
    if head.startswith(_FUJIFILM):
        return _is_raf_cut_off(stream, size)
    if head.startswith(_JPEG_2000) or head[4:8] == b"jP  ":
        return not tail.rstrip(b"\0").endswith(b"\xff\xd9")
    return head[4:8] in _BOXES and _are_boxes_cut_off(stream, size)


def _is_raf_cut_off(stream: BinaryIO, size: int) -> bool:
    """Whether the preview or the sensor's part of a Fujifilm file lies behind its end."""
    stream.seek(_FUJIFILM_PARTS)
    header = stream.read(24)
    if len(header) < 24:
        return True
    preview, length, _, _, sensor, bytes_of_sensor = struct.unpack(">6I", header)
    return bool(max(preview + length, sensor + bytes_of_sensor) > size)


def _is_gif_cut_off(stream: BinaryIO) -> bool:
    """Whether a GIF's blocks end before its trailer. Its one-byte end mark may stand anywhere in the data."""
    stream.seek(0)
    header = stream.read(13)
    if len(header) < 13:
        return True
    stream.seek(_gif_colors(header[10]), io.SEEK_CUR)
    while kind := stream.read(1):
        if kind == b";":
            return False
        if kind == b",":
            descriptor = stream.read(9)
            if len(descriptor) < 9:
                return True
            stream.seek(_gif_colors(descriptor[8]) + 1, io.SEEK_CUR)
        elif kind == b"!":
            stream.seek(1, io.SEEK_CUR)
        else:
            return False  # No block begins like that: damaged, wherever it ends.
        while (length := stream.read(1)) and length != b"\0":
            stream.seek(length[0], io.SEEK_CUR)
    return True


def _gif_colors(flags: int) -> int:
    """Bytes of the color table that a GIF's flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _is_tiff_cut_off(stream: BinaryIO, size: int, order: str) -> bool:
    """Whether the first page's directory, or a value that it points to, lies behind the end of the file."""
    try:
        stream.seek(4)
        (place,) = struct.unpack(f"{order}I", stream.read(4))
        stream.seek(place)
        (count,) = struct.unpack(f"{order}H", stream.read(2))
        for _, kind, values, value in struct.iter_unpack(f"{order}HHII", stream.read(12 * count).ljust(12 * count)):
            length = TYPE_SIZES.get(kind, 0) * values
            if length > 4 and value + length > size:
                return True
        return bool(place + 2 + 12 * count > size)
    except struct.error:
        return True


#: Boxes that hold the pictures themselves, and that of camera files, whose pictures are none of ours.
_CONTENT_BOXES = {b"mdat", b"jp2c", b"jxlc", b"jxlp", b"moov"}


def _are_boxes_cut_off(stream: BinaryIO, size: int) -> bool:
    """Whether a box of an AVIF, HEIC, JPEG 2000 or JPEG XL file is shorter than it says, or its picture is missing."""
    place, names = 0, set()
    while place < size:
        stream.seek(place)
        box = stream.read(16)
        if len(box) < 8:
            return True
        names.add(box[4:8])
        length = int.from_bytes(box[:4], "big")
        if length == 1:
            # The true length stands behind the name.
            length = int.from_bytes(box[8:16], "big")
        if length < 8:
            # 0 means up to the end; anything else is damage.
            return False
        place += length
    return place > size or not names & _CONTENT_BOXES
