"""The formats that are read: what their files are called, who decodes them, and which extra that needs.

This is the only list. What folders, shards and messages know about formats comes from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """A format.

    Attributes:
        name: What people call it.
        extensions: What names of its files end in, lower case.
        decoders: Names under which Pillow knows it; empty if something else decodes it.
        extra: The extra of the package that it needs; ``None`` if it is always read.
    """

    name: str
    extensions: tuple[str, ...]
    decoders: tuple[str, ...] = ()
    extra: str | None = None


#: In the order in which Pillow tries them. No format that runs another program (EPS) or that nobody photographs in is
#: opened, however the file is named.
FORMATS = (
    # An MPO is a JPEG with further pictures behind it (other views, depth); Pillow opens it through its JPEG reader.
    PictureFormat("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo"), ("JPEG",)),
    PictureFormat("PNG", (".png", ".apng"), ("PNG",)),
    PictureFormat("WebP", (".webp",), ("WEBP",)),
    PictureFormat("AVIF", (".avif", ".avifs"), ("AVIF",)),
    PictureFormat("HEIC", (".heic", ".heif", ".heics", ".heifs", ".hif"), extra="photos"),
    PictureFormat("GIF", (".gif",), ("GIF",)),
    PictureFormat("BMP", (".bmp", ".dib"), ("BMP",)),
    PictureFormat("TIFF", (".tif", ".tiff"), ("TIFF",)),
    PictureFormat("JPEG 2000", (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"), ("JPEG2000",)),
    PictureFormat("PPM", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), ("PPM",)),
    PictureFormat("PSD", (".psd",), ("PSD",)),
    PictureFormat("JPEG XL", (".jxl",), extra="photos"),
    # Camera files hold a developed JPEG, which is what is read; the extra develops those that do not.
    PictureFormat(
        "RAW",
        (
            *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc"),
            *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw"),
            ".x3f",
        ),
    ),
)

#: What a picture's name ends in, lower case. Folders and globs give only such files; a file that is named outright may
#: be called anything.
PICTURE_EXTENSIONS = frozenset(extension for format in FORMATS for extension in format.extensions)

#: What Pillow is asked to read.
PILLOW_DECODERS = tuple(decoder for format in FORMATS for decoder in format.decoders)

#: The formats in words, for messages.
READABLE = ", ".join(format.name for format in FORMATS)


def has_picture_extension(name: str) -> bool:
    """Whether a file's name ends like that of a picture, in any case of letters."""
    return PurePath(name).suffix.lower() in PICTURE_EXTENSIONS
