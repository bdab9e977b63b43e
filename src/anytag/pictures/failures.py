"""Explain why a file cannot be read: what it is instead of a picture, or how it is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NoReturn

from PIL import Image, UnidentifiedImageError

from anytag.errors import PictureError
from anytag.pictures.formats import READABLE
from anytag.pictures.integrity import is_cut_off, is_known

#: First bytes of files that are often mistaken for pictures.
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer. Fetch the picture itself: git lfs pull"),
    (b"%PDF", "a PDF document. Save its pages as pictures"),
    (b"%!PS", "a PostScript drawing, which is a program. Save it as PNG"),
    (b"\0\x05\x16\x07", "a companion file of macOS (AppleDouble), not the picture. Give the file without '._'"),
    (b"8BPS\0\x02", "a large Photoshop document (PSB). Save it as JPEG or PNG"),
    (b"gimp xcf", "a GIMP document. Export it as PNG"),
    (b"PK\x03\x04", "a ZIP archive. Unpack it"),
    (b"\x1f\x8b", "a gzip archive. Unpack it"),
    (b"Rar!", "a RAR archive. Unpack it"),
    (b"7z\xbc\xaf", "a 7z archive. Unpack it"),
    (b"\x1aE\xdf\xa3", "a video. Save one of its frames as a picture"),
    (b"\0\0\1\0", "an icon (ICO). Save it as PNG"),
)
_DRAWING = "an SVG drawing. Save it as PNG"
_PAGE = "a web page, probably an error page that was saved under this name. Download the picture again"

#: Brands of ISO files with pictures; the others are videos.
_PICTURE_BRANDS = (
    *(b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
    *(b"crx ", b"jp"),
)


def other_kind(head: bytes) -> str | None:
    """What a file is instead of a picture, and what to do, by its first bytes; ``None`` if unknown."""
    if known := next((what for start, what in _OTHERS if head.startswith(start)), None):
        return known
    if head[:4] == b"RIFF" and head[8:12] != b"WEBP":
        return "a video or sound. Save one of its frames as a picture"
    if head[4:8] == b"ftyp" and not head[8:].startswith(_PICTURE_BRANDS) and b"mif1" not in head[8:]:
        return "a video. Save one of its frames as a picture"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<svg", b"<?xml")) and (b"<svg" in text or b"svg" in text):
        return _DRAWING
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return _PAGE
    return None


@contextmanager
def optional_decoder(label: str, what: str) -> Iterator[None]:
    """Import a decoder within the block, or raise a :class:`PictureError` that says what to install."""
    try:
        yield
    except ImportError as error:
        message = f"{label}: a {what}, which needs an optional decoder. Install it: pip install 'anytag[photos]'"
        raise PictureError("unreadable", label, message) from error


def raise_too_large(label: str, width: int, height: int, max_pixels: int) -> NoReturn:
    """Raise the :class:`PictureError` for a picture with more pixels than allowed."""
    message = (
        f"{label}: {width} x {height} pixels are more than the limit of {max_pixels:,}. Make the picture smaller, or "
        "raise max_pixels if you trust it."
    )
    raise PictureError("too_large", label, message)


def raise_unreadable(error: Exception, stream: BinaryIO | None, label: str) -> NoReturn:
    """Raise the :class:`PictureError` for the error of a decoder."""
    if isinstance(error, PictureError):
        raise error
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning | MemoryError):
        message = (
            f"{label}: too many pixels to decode ({error}). Make the picture smaller; if you trust it, raise "
            "PIL.Image.MAX_IMAGE_PIXELS and max_pixels."
        )
        raise PictureError("too_large", label, message) from error
    # Pillow's message for unknown files only names its stream object.
    detail = "its header cannot be read" if isinstance(error, UnidentifiedImageError) else str(error)
    cut = isinstance(error, EOFError) or "truncat" in detail.lower()
    if cut or (stream is not None and not stream.closed and is_cut_off(stream)):
        message = (
            f"{label}: the file ends before the picture does ({detail}). Copy or download it again, or read what "
            "there is with accept_truncated (--accept-truncated)."
        )
        raise PictureError("truncated", label, message) from error
    message = f"{label}: the picture is damaged and cannot be decoded ({detail}). Open it elsewhere and save it again."
    raise PictureError("unreadable", label, message) from error


def raise_unidentified(error: Exception, stream: BinaryIO, label: str) -> NoReturn:
    """Raise the :class:`PictureError` for a file that no decoder recognizes."""
    stream.seek(0)
    head = stream.read(512)
    if what := other_kind(head):
        raise PictureError("not_a_picture", label, f"{label}: {what}.") from error
    if is_known(head) and is_cut_off(stream):
        raise_unreadable(error, stream, label)
    kind, what = ("unreadable", "a damaged picture") if is_known(head) else ("not_a_picture", "not a picture")
    message = f"{label}: {what}, or in a format that is not read. Readable are {READABLE}."
    raise PictureError(kind, label, message) from error
