"""Choose the decoder of a file by its content, not its name, and read its header."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO, cast

from PIL import Image, ImageFile, UnidentifiedImageError

from anytag.pictures import jpeg_xl
from anytag.pictures.failures import optional_decoder, raise_unidentified, raise_unreadable
from anytag.pictures.formats import FORMATS, PILLOW_DECODERS
from anytag.pictures.integrity import is_cut_off
from anytag.pictures.raw import LEAST_SIDE, develop, largest_preview, raw_kind
from anytag.pictures.tiff import byte_order

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_RAW_EXTENSIONS = next(format.extensions for format in FORMATS if format.name == "RAW")


@dataclass(frozen=True, slots=True)
class Opened:
    """A picture whose header was read.

    Attributes:
        picture: The picture, not decoded.
        stream: Its file, which is part of a camera file for previews; ``None`` if there is none.
        orientation: Exif orientation from outside the picture, or 1 to ignore that of the picture; 0: use that of the
            picture.
    """

    picture: Image.Image
    stream: BinaryIO | None = None
    orientation: int = 0


def identify(stream: BinaryIO, label: str, max_pixels: int) -> Opened:
    """Read the header of a picture.

    Args:
        label: Its name in errors; a TIFF is a camera file if it has such an extension.
        max_pixels: Highest width times height, for decoders that do not decode lazily.

    Raises:
        PictureError: If it is not a picture, is damaged, or needs a decoder that is not installed.
    """
    stream.seek(0)
    head = stream.read(32)
    stream.seek(0)
    kind = raw_kind(head)
    if kind is not None or byte_order(head) is not None:
        if (opened := _identify_preview(stream, label, kind)) is not None:
            return opened
        stream.seek(0)
    # AVIF also has the general brand mif1.
    if head[4:8] == b"ftyp" and b"avif" not in head and any(brand in head[8:] for brand in _HEIC_BRANDS):
        return Opened(_identify_heic(stream, label), stream)
    if jpeg_xl.is_jpeg_xl(head):
        # The decoder applies the orientation in its header, of which Exif has a copy.
        return Opened(jpeg_xl.identify(stream, label, max_pixels), stream, orientation=1)
    try:
        return Opened(Image.open(stream, formats=PILLOW_DECODERS), stream)
    except UnidentifiedImageError as error:
        raise_unidentified(error, stream, label)
    except Exception as error:
        raise_unreadable(error, stream, label)


def _identify_preview(stream: BinaryIO, label: str, kind: str | None) -> Opened | None:
    """The preview of a camera file, or the full page of a TIFF that starts with a thumbnail; otherwise ``None``."""
    is_raw = kind is not None or os.path.splitext(label)[1].lower() in _RAW_EXTENSIONS  # noqa: PTH122
    try:
        preview = largest_preview(stream, is_raw=is_raw)
        if preview is None:
            return None
        if preview.is_camera and max(preview.size) < LEAST_SIDE:
            if preview.is_cut_off or is_cut_off(stream):
                raise EOFError("it lacks the end of what the sensor saw")
            picture = develop(stream, label, kind or "RAW", preview.size if any(preview.size) else None)
            return Opened(picture, orientation=1)
        picture = Image.open(preview.content, formats=("JPEG", "TIFF"))
    except Exception as error:
        raise_unreadable(error, stream, label)
    return Opened(picture, preview.content, preview.orientation)


def _identify_heic(stream: BinaryIO, label: str) -> ImageFile.ImageFile:
    """Read the header of a HEIC picture, if the optional decoder is installed."""
    with optional_decoder(label, "HEIC picture"):
        # Registering the decoder would change Pillow for the whole program.
        from pillow_heif import HeifImageFile
    try:
        return cast(ImageFile.ImageFile, HeifImageFile(stream))
    except Exception as error:
        raise_unreadable(error, stream, label)
