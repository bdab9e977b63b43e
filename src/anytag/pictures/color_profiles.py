"""Convert pictures from their color space to sRGB, on which models were trained.

Without it, a picture in AdobeRGB, ProPhoto or Display P3 would look pale or garish to a model.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms

from anytag.pictures.icc import ADOBE_RGB, SRGB, Primaries, coded_profile, make_profile

#: Larger profiles are ignored; those of printers have one or two megabytes.
_LARGEST = 1 << 24

#: Largest difference, of 255, of colors for a profile to count as sRGB, because curves are rounded differently.
_ROUNDING = 2

#: Pillow's mode of each color space.
_MODE_OF = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}

_EXIF, _INTEROPERABILITY, _COLOR_SPACE, _INDEX = 0x8769, 0xA005, 0xA001, 1


@dataclass(frozen=True, slots=True)
class _Conversion:
    """A transform to sRGB, and the mode of its input."""

    mode: str
    transform: ImageCms.ImageCmsTransform


def to_srgb(picture: Image.Image, profile: bytes | None, own: bool = False) -> Image.Image:
    """Convert a picture to sRGB.

    Args:
        profile: An ICC profile; without one, or if it is damaged or does not fit the mode, sRGB is assumed.
        own: Whether the picture may be changed in place, which saves memory.

    Returns:
        The same object if there is nothing to convert; otherwise mode RGB, or RGBA with transparency.
    """
    if not profile or len(profile) > _LARGEST or picture.mode in ("1", "LAB", "HSV"):
        return picture
    conversion = _conversion(profile)
    if conversion is None:
        return picture
    try:
        return _apply(picture, conversion, own)
    except (ImageCms.PyCMSError, ValueError, OSError):
        return picture


def profile_of(picture: Image.Image, stream: BinaryIO | None = None) -> bytes | None:
    """The ICC profile of a picture, or one made from its metadata; ``None``: sRGB.

    In this order: codes of H.273 in a PNG, an ICC profile, gamma and chromaticities of a PNG, codes in AVIF and HEIC,
    and AdobeRGB in Exif.
    """
    try:
        head = _head(stream) if stream is not None and picture.format in ("PNG", "AVIF", "HEIF") else b""
        if picture.format == "PNG" and (codes := _png_codes(head)):
            return coded_profile(codes[0], codes[1])
        if stream is not None and picture.format in _OWN_PROFILES:
            place = stream.tell()
            try:
                return _OWN_PROFILES[picture.format](stream)
            finally:
                stream.seek(place)
        if profile := picture.info.get("icc_profile"):
            return profile if isinstance(profile, bytes) else None
        if picture.format == "PNG":
            return None if "srgb" in picture.info else _of_gamma(picture.info)
        if codes := _after(head, b"colrnclx", 4):
            return coded_profile(int.from_bytes(codes[:2], "big"), int.from_bytes(codes[2:4], "big"))
        return _adobe_rgb() if _is_adobe_rgb(picture) else None
    except Exception:
        # Damaged color metadata should not make a picture unreadable.
        return None


def _bmp_profile(stream: BinaryIO) -> bytes | None:
    """The profile of a BMP with a version 5 header."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    head = stream.read(138)
    start = 14 if head[:2] == b"BM" else 0  # A DIB has no file header.
    header, space = struct.unpack_from("<I", head, start)[0], head[start + 56 : start + 60]
    if header < 124 or space != b"DEBM":
        return None
    place, length = struct.unpack_from("<II", head, start + 112)
    if not 0 < length <= min(_LARGEST, size - start - place):
        return None
    stream.seek(start + place)
    return stream.read(length)


def _gif_profile(stream: BinaryIO) -> bytes | None:
    """The profile of a GIF, in an application block before the first picture."""
    stream.seek(10)
    flags = stream.read(3)[0]
    stream.seek(3 << (flags & 7) + 1 if flags & 0x80 else 0, io.SEEK_CUR)
    while stream.read(1) == b"!":
        is_profile = stream.read(1) == b"\xff"
        parts = []
        while length := stream.read(1)[0]:
            parts.append(stream.read(length))
        if is_profile and parts[:1] == [b"ICCRGBG1012"]:
            return b"".join(parts[1:])
    return None


#: Formats whose profiles Pillow does not read.
_OWN_PROFILES: dict[str, Callable[[BinaryIO], bytes | None]] = {
    "BMP": _bmp_profile,
    "DIB": _bmp_profile,
    "GIF": _gif_profile,
}


def _head(stream: BinaryIO) -> bytes:
    place = stream.tell()
    stream.seek(0)
    head = stream.read(1 << 16)
    stream.seek(place)
    return head


def _png_codes(head: bytes) -> bytes:
    """The codes of a PNG's cICP chunk, which precedes the pixels; empty if there is none."""
    place = 8
    while place + 10 <= len(head) and (name := head[place + 4 : place + 8]) != b"IDAT":
        if name == b"cICP":
            return head[place + 8 : place + 10]
        place += 12 + int.from_bytes(head[place : place + 4], "big")
    return b""


def _after(head: bytes, name: bytes, length: int) -> bytes:
    """The bytes after a box's name; empty if there is none."""
    found = head.find(name)
    return b"" if found < 0 else head[found + len(name) : found + len(name) + length]


def _of_gamma(info: dict[str | tuple[int, int], object]) -> bytes | None:
    """A profile from a PNG's gamma and chromaticities; ``None`` if they are those of sRGB."""
    gamma, corners = info.get("gamma"), info.get("chromaticity")
    exponent = 1 / gamma if isinstance(gamma, float) and gamma > 0 else 2.2
    flat = corners if isinstance(corners, tuple) and len(corners) == 8 else None
    primaries = SRGB if flat is None else Primaries(flat[2:4], flat[4:6], flat[6:8], flat[:2])
    if np.abs(np.subtract(_corners(primaries), _corners(SRGB))).max() < 0.005:
        # Old PNGs have a gamma of 1/2.2 for sRGB.
        return None if abs(exponent - 2.2) < 0.1 else make_profile(SRGB, exponent)
    return make_profile(primaries, exponent)


def _corners(primaries: Primaries) -> tuple[tuple[float, float], ...]:
    return (primaries.red, primaries.green, primaries.blue, primaries.white)


def _is_adobe_rgb(picture: Image.Image) -> bool:
    """Whether Exif specifies AdobeRGB, as cameras do without a profile (DCF's optional color space, index R03)."""
    if not picture.info.get("exif"):
        return False
    exif = picture.getexif()
    space = exif.get_ifd(_EXIF).get(_COLOR_SPACE)
    if space == 2:
        return True
    if space != 0xFFFF:
        return False
    index = exif.get_ifd(_INTEROPERABILITY).get(_INDEX)
    return (index.encode("latin-1") if isinstance(index, str) else index or b"")[:3] == b"R03"


@lru_cache(maxsize=1)
def _adobe_rgb() -> bytes:
    return make_profile(ADOBE_RGB, 563 / 256)


@lru_cache(maxsize=32)
def _conversion(profile: bytes) -> _Conversion | None:
    """The transform of a profile; ``None`` if it is damaged, or sRGB."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODE_OF.get(opened.profile.xcolor_space.strip())
        if mode is None:
            return None
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # Threads share transforms, so they must not cache the last pixel.
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
        return None if mode != "CMYK" and _is_identity(transform, mode) else _Conversion(mode, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform does not change colors, tested on a grid of them."""
    ramp = np.arange(256, dtype=np.uint8)
    if mode == "L":
        gray = Image.fromarray(ramp[None])
        before = np.asarray(gray.convert("RGB"))
    else:
        steps = np.linspace(0, 255, 9).astype(np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
        before = np.concatenate([cube, ramp[None, :, None].repeat(3, 2)], 1)
        gray = Image.fromarray(before)
    after = np.asarray(ImageCms.applyTransform(gray, transform))
    return bool(np.abs(after.astype(int) - before).max() <= _ROUNDING)


def _apply(picture: Image.Image, conversion: _Conversion, own: bool) -> Image.Image:
    alpha = None
    if picture.has_transparency_data:
        straight = picture.convert("LA") if picture.mode == "La" else picture
        rgba = straight if straight.mode in ("LA", "RGBA") else straight.convert("RGBA")
        alpha = rgba.getchannel("A")
        picture, own = rgba.convert(rgba.mode[:-1]), True
    if conversion.mode == "CMYK" and picture.mode != "CMYK":
        return picture if alpha is None else rgba
    if picture.mode == "CMYK" and conversion.mode != "CMYK":
        return picture
    if conversion.mode == "L" and picture.mode not in ("L", "RGB"):
        picture, own = picture.convert("L"), True
    if conversion.mode == "L" and picture.mode == "RGB":
        # A gray profile does not fit a color picture.
        return picture if alpha is None else rgba
    if picture.mode != conversion.mode:
        picture, own = picture.convert(conversion.mode), True
    if own and picture.mode == "RGB" and not picture.readonly:
        ImageCms.applyTransform(picture, conversion.transform, inPlace=True)
    else:
        picture = ImageCms.applyTransform(picture, conversion.transform) or picture
    if alpha is not None:
        picture.putalpha(alpha)
    return picture
