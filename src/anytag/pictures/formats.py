"""The supported picture formats, with their extensions, decoders and optional dependencies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """A picture format.

    Attributes:
        decoders: Pillow's names for it; empty if something else decodes it.
    """

    name: str
    extensions: tuple[str, ...]
    decoders: tuple[str, ...] = ()


#: In the order in which Pillow tries them. Formats that run another program (EPS), or are not used for photographs, are
#: never opened.
FORMATS = (
    # An MPO is a JPEG followed by other pictures (views, depth), which Pillow's JPEG reader opens.
    PictureFormat("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo"), ("JPEG",)),
    PictureFormat("PNG", (".png", ".apng"), ("PNG",)),
    PictureFormat("WebP", (".webp",), ("WEBP",)),
    PictureFormat("AVIF", (".avif", ".avifs"), ("AVIF",)),
    PictureFormat("HEIC", (".heic", ".heif", ".heics", ".heifs", ".hif")),  # With the extra "photos".
    PictureFormat("GIF", (".gif",), ("GIF",)),
    PictureFormat("BMP", (".bmp", ".dib"), ("BMP",)),
    PictureFormat("TIFF", (".tif", ".tiff"), ("TIFF",)),
    PictureFormat("JPEG 2000", (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"), ("JPEG2000",)),
    PictureFormat("PPM", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), ("PPM",)),
    PictureFormat("PSD", (".psd",), ("PSD",)),
    PictureFormat("JPEG XL", (".jxl",)),  # With the extra "photos".
    # Usually the embedded JPEG is read; the extra develops files without one.
    PictureFormat(
        "RAW",
        (
            *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc"),
            *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw"),
            ".x3f",
        ),
    ),
)

#: Extensions of pictures, lower case, by which folders and globs are filtered; files given by name may have any.
PICTURE_EXTENSIONS = frozenset(extension for format in FORMATS for extension in format.extensions)

#: The formats that Pillow may open.
PILLOW_DECODERS = tuple(decoder for format in FORMATS for decoder in format.decoders)

#: Names of the formats, for messages.
READABLE = ", ".join(format.name for format in FORMATS)


def has_picture_extension(name: str) -> bool:
    """Whether a file has the extension of a picture, ignoring case."""
    return PurePath(name).suffix.lower() in PICTURE_EXTENSIONS
