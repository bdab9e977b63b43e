"""Complete truncated files, so that decoders read what is there, and check whether visible pixels are missing."""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import BinaryIO

from anytag.pictures.integrity import ends_empty

#: Replacements of missing bytes. If a picture is the same with both, it does not depend on them.
_FILLERS = (b"\0", b"\x55")

#: Number of replaced bytes before the end mark, because decoders look ahead.
_FILLED = 64

#: End marks, of which a progressive JPEG needs one for each missing pass.
_ENDS = b"\xff\xd9" * 100

#: The end of a pass: a marker other than an escaped 0xFF or a restart.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"

#: First column and row, and steps, of the passes of an interlaced PNG.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

#: Bytes at the end of a file that are checked.
_TAIL = 4096

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def completions(content: bytes) -> tuple[bytes, bytes] | None:
    """Complete a truncated file in two ways; if both decode to the same picture, no visible pixels are missing.

    Returns:
        ``None`` for unsupported formats; the second is empty if visible pixels are known to be missing.
    """
    if content.startswith(b"\xff\xd8\xff"):
        # An incomplete download with preallocated space ends in zeros.
        kept = content.rstrip(b"\0")
        is_complete, end = _passes(kept)
        kept = kept[:end]
        if not is_complete:
            # Both would decode to the same picture, with less detail.
            return kept + _ENDS, b""
        return kept + _ENDS, kept.rstrip(b"\xff") + _FILLERS[1] * _FILLED + _ENDS
    if content.startswith(_PNG):
        whole = _with_end_of_png(content)
        return None if whole is None else (whole, whole)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        missing = max(0, min(int.from_bytes(content[4:8], "little") + 8 - len(content), len(content) * 64))
        # An end of zeros would itself count as missing.
        first, second = (content + filler * (missing - 1) + b"\1"[:missing] for filler in _FILLERS)
        return first, second
    if content.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        whole = content + b"\xff\xd9"
        return whole, whole
    return None


def _passes(content: bytes) -> tuple[bool, int]:
    """Whether a JPEG has all passes that its frame needs, the last one perhaps incomplete; and where it ends.

    A progressive JPEG adds details (spectral selection) and their lower bits (successive approximation) pass by pass.
    Truncated tables are not counted.
    """
    missing: set[tuple[int, int]] | None = None
    place = 2
    while 0 <= place <= len(content) - 4:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        body = content[place + 4 : place + 2 + length]
        if content[place] != 0xFF or not body:
            break
        if len(body) < length - 2:
            return not missing, place
        if marker == 0xC2 and len(body) > 5:
            missing = {(component, number) for component in body[6::3] for number in range(64)}
        elif marker == 0xDA:
            if missing is not None and len(body) == 4 + 2 * body[0] and body[-1] & 15 == 0:
                missing -= {
                    (component, number) for component in body[1:-3:2] for number in range(body[-3], body[-2] + 1)
                }
            found = _MARKER.search(content, place + 2 + length)
            length = (found.start() if found else len(content)) - place - 2
        place += 2 + length
    return not missing, min(place, len(content)) if content[place : place + 1] == b"\xff" else len(content)


def lacks_pixels(stream: BinaryIO, format: str | None) -> bool:
    """Whether a file that was decoded without an error lacks pixels.

    Incomplete downloads with preallocated space have the right length but end in zeros.

    Args:
        stream: The file, seekable; its position changes.
        format: Pillow's name of the format.
    """
    if format in ("WEBP", "AVIF", "HEIF"):
        return ends_empty(stream)
    if format not in ("JPEG", "MPO", "PNG"):
        return False
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - _TAIL))
    tail = stream.read()
    if format in ("JPEG", "MPO"):
        # Cameras pad blocks with a few zeros.
        return len(tail) - len(tail.rstrip(b"\0")) > _FILLED and not tail.rstrip(b"\0").endswith(b"\xff\xd9")
    if tail.rstrip(b"\0").endswith(_PNG_END):
        return False
    stream.seek(0)
    return _with_end_of_png(stream.read()) is None


def _with_end_of_png(content: bytes) -> bytes | None:
    """A PNG up to its last pixel, with an end mark; ``None`` if pixels are missing."""
    try:
        width, height, depth, color, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
        expected = _png_bytes(width, height, depth * _SAMPLES[color], interlaced)
        inflate = zlib.decompressobj()
        kept, found, place = [_PNG], 0, len(_PNG)
        while place + 8 <= len(content) and found < expected:
            length, name = struct.unpack_from(">I4s", content, place)
            body = content[place + 8 : place + 8 + length]
            if name == b"IDAT":
                piece = body
                while piece and found < expected:
                    found += len(inflate.decompress(piece, 1 << 20))
                    piece = inflate.unconsumed_tail
            check = struct.pack(">I", zlib.crc32(name + body))
            if content[place + 8 + length : place + 12 + length] not in (b"", check) and len(body) == length:
                return None  # It does not end in PNG data, but for example in zeros.
            kept += [struct.pack(">I", len(body)), name, body, check]
            place += 12 + length
    except (struct.error, KeyError, zlib.error):
        return None
    return b"".join([*kept, _PNG_END]) if found >= expected else None


def _png_bytes(width: int, height: int, bits: int, interlaced: int) -> int:
    """Length of a PNG's rows before compression, with one byte each for its filter."""
    total = 0
    for column, row, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
