"""Check whether a file is a picture, and whether its end is missing.

Decoders raise the same vague error for damaged and for truncated files, but only the latter can be copied again.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from PIL import Image

from anytag.pictures.tiff import BYTE_ORDERS, TYPE_SIZES

#: First and last bytes of formats with an end mark.
_MARKS = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG", b"IEND\xaeB`\x82"))

#: First bytes of others. Those of camera files are in :mod:`anytag.pictures.tiff` and :mod:`anytag.pictures.raw`.
_PHOTOSHOP, _JPEG_2000, _FUJIFILM = b"8BPS\0\1", b"\xff\x4f\xff\x51", b"FUJIFILMCCD-RAW"

#: Length of Photoshop's header, and position of Fujifilm's table of parts.
_PHOTOSHOP_HEADER, _FUJIFILM_PARTS = 26, 84

#: Names of the first box in formats made of boxes.
_BOXES = (b"ftyp", b"jP  ", b"JXL ")

#: Bytes at the end of a file that are not all zero if it is complete; at most a quarter, and at least 64.
_EMPTY_END, _LEAST_EMPTY = 4096, 64

#: Generous upper bounds of pixels per byte in each format, for pictures of a single color.
_MOST_PER_BYTE = {"PNG": 8 * 1032, "GIF": 4096, "JPEG": 20_000, "MPO": 20_000, "JPEG2000": 20_000}
_MOST_PER_BYTE_TIFF = {"raw": 8, "packbits": 512, "tiff_lzw": 32_768, "tiff_adobe_deflate": 8256, "jpeg": 20_000}

#: Smaller pictures are not checked, because they need little memory.
_HARMLESS_PIXELS = 16_000_000


def can_hold(picture: Image.Image, stream: BinaryIO) -> bool:
    """Whether a file is long enough for the size in its header, because decoders allocate memory for all pixels first.

    Args:
        picture: Not yet decoded.
        stream: Its file; the position does not change.
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
    """Whether a file's first bytes, 12 or more, are those of a supported format."""
    starts = (*(start for start, _ in _MARKS), *BYTE_ORDERS, b"GIF8", b"RIFF", b"BM", _PHOTOSHOP, _JPEG_2000)
    return head.startswith(starts) or head[4:8] in _BOXES


def ends_empty(stream: BinaryIO) -> bool:
    """Whether a file ends in zeros, like an incomplete download with preallocated space.

    Only for formats that never end in zeros, or files that failed to decode. Changes the position of the stream.
    """
    size = stream.seek(0, io.SEEK_END)
    length = min(_EMPTY_END, size // 4)
    stream.seek(size - length)
    return length >= _LEAST_EMPTY and not stream.read(length).strip(b"\0")


def is_cut_off(stream: BinaryIO) -> bool:
    """Whether a file is shorter than its header says, or has no end mark.

    Only for files that failed to decode, since complete ones may have data after the end mark. Changes the position of
    the stream.
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
    """Whether the preview or the sensor data of a Fujifilm file are beyond its end."""
    stream.seek(_FUJIFILM_PARTS)
    header = stream.read(24)
    if len(header) < 24:
        return True
    preview, length, _, _, sensor, bytes_of_sensor = struct.unpack(">6I", header)
    return bool(max(preview + length, sensor + bytes_of_sensor) > size)


def _is_gif_cut_off(stream: BinaryIO) -> bool:
    """Whether a GIF's blocks end before its trailer, a byte that may also occur in the data."""
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
            return False  # Not a block, so the file is damaged, not truncated.
        while (length := stream.read(1)) and length != b"\0":
            stream.seek(length[0], io.SEEK_CUR)
    return True


def _gif_colors(flags: int) -> int:
    """Length of a GIF's color table, by its flags."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _is_tiff_cut_off(stream: BinaryIO, size: int, order: str) -> bool:
    """Whether the first page's directory, or a value that it refers to, is beyond the end of the file."""
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


#: Boxes with pictures, and that of camera files.
_CONTENT_BOXES = {b"mdat", b"jp2c", b"jxlc", b"jxlp", b"moov"}


def _are_boxes_cut_off(stream: BinaryIO, size: int) -> bool:
    """Whether a box of an AVIF, HEIC, JPEG 2000 or JPEG XL file is too short, or that of the picture is missing."""
    place, names = 0, set()
    while place < size:
        stream.seek(place)
        box = stream.read(16)
        if len(box) < 8:
            return True
        names.add(box[4:8])
        length = int.from_bytes(box[:4], "big")
        if length == 1:
            # A 64-bit length follows the name.
            length = int.from_bytes(box[8:16], "big")
        if length < 8:
            # 0 means until the end; other values are damage.
            return False
        place += length
    return place > size or not names & _CONTENT_BOXES
