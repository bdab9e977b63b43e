"""Pictures made on the fly, good and bad."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from anytag.errors import PictureError
from anytag.pictures import read_picture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encode(picture: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, color: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    content = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def noise(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def gray_row(picture: Image.Image) -> list[int]:
    assert picture.mode == "RGB"
    pixels = np.asarray(picture)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[0, :, 0].tolist()


def failed(source: object, **options: object) -> PictureError:
    with pytest.raises(PictureError) as caught:
        read_picture(source, **options)
    assert caught.value.path in str(caught.value)
    return caught.value
