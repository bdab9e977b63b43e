"""Read JPEG XL with an optional decoder. It decodes when a file is opened, so the size is parsed before."""

from __future__ import annotations

import io
from typing import BinaryIO

from PIL import Image

from anytag.pictures.failures import optional_decoder, raise_too_large, raise_unreadable

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"

#: Aspect ratios by their number in the header (ISO/IEC 18181-1, annex D.2).
_RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))

#: The decoder's message for any failure; advice on building it follows.
_NO_REASON = "Generic Error"

#: Number of bits of a side, by its code.
_SIDE_BITS = (9, 13, 18, 30)


def is_jpeg_xl(head: bytes) -> bool:
    """Whether a file's first 12 bytes are those of JPEG XL."""
    return head.startswith((_CODESTREAM, _CONTAINER))


def identify(stream: BinaryIO, label: str, max_pixels: int) -> Image.Image:
    """Decode a JPEG XL.

    Raises:
        PictureError: If the optional decoder is not installed, or the picture is too large or damaged.
    """
    with optional_decoder(label, "JPEG XL"):
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile
    stream.seek(0)
    content = stream.read()
    try:
        width, height = size_of(content)
    except (IndexError, ValueError) as error:
        raise_unreadable(error, stream, label)
    if width * height > max_pixels:
        raise_too_large(label, width, height, max_pixels)
    try:
        picture: Image.Image = JXLImageFile(io.BytesIO(content))
        picture.load()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # Panics of Rust are not Exceptions.
        raise_unreadable(_reason(error), stream, label)
    return picture


def _reason(error: BaseException) -> Exception:
    """The decoder's error, without its useless default message."""
    if str(error).startswith(_NO_REASON):
        return ValueError("its decoder does not say why; perhaps its end is missing")
    return error if isinstance(error, Exception) else ValueError(str(error))


def size_of(content: bytes) -> tuple[int, int]:
    """Parse width and height from the header.

    Raises:
        ValueError: If the file has no codestream.
        IndexError: If it ends within the header.
    """
    bits = _Bits(_codestream(content)[2:])
    small = bits.take(1)
    height = _side(bits, small)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return _side(bits, small), height


def _side(bits: _Bits, small: int) -> int:
    return (bits.take(5) + 1) * 8 if small else bits.take(_SIDE_BITS[bits.take(2)]) + 1


def _codestream(content: bytes) -> bytes:
    """The start of the codestream, which may be in a box of the container."""
    if content.startswith(_CODESTREAM):
        return content[:16]
    place = 0
    while place + 8 <= len(content):
        length, name = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        header = 8
        if length == 1:
            length, header = int.from_bytes(content[place + 8 : place + 16], "big"), 16
        if name in (b"jxlc", b"jxlp"):
            begin = place + header + (4 if name == b"jxlp" else 0)
            return content[begin : begin + 16]
        if length < 8:
            break
        place += length
    raise ValueError("truncated: it holds no codestream")


class _Bits:
    """Reads bits, the lowest of each byte first."""

    def __init__(self, content: bytes):
        self.value, self.left = int.from_bytes(content, "little"), 8 * len(content)

    def take(self, number: int) -> int:
        if number > self.left:
            raise IndexError("truncated: it ends within its header")
        taken = self.value & ((1 << number) - 1)
        self.value >>= number
        self.left -= number
        return taken
