"""Convert all picture modes and pixel arrays to 8-bit RGB, with transparency over white."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from anytag.errors import PictureError


def to_rgb(picture: Image.Image, composite_alpha: bool = True) -> Image.Image:
    """Convert a picture to mode RGB.

    Grayscale is repeated over the channels. Transparent pixels (LA, RGBA, PA, premultiplied, palettes, a transparent
    color) are composited over white. Pixels deeper than 8 bits are scaled, not clipped: 16-bit ``v`` becomes
    ``round(v / 257)``; 32-bit integers and floats have a white of 1 (floats only), 255 or 65535, the first that is not
    exceeded, or else of their highest value.

    Args:
        composite_alpha: ``False`` drops transparency, as the official Tag2Text and RAM code does: transparent pixels
            get their stored color, often black.

    Returns:
        A picture of the same size; the same object if it is RGB.

    Raises:
        ValueError: If Pillow cannot convert the mode.
    """
    if is_deep(picture):
        return _from_deep(picture, composite_alpha)
    if picture.has_transparency_data:
        # Pillow has no conversion from premultiplied gray to RGBA.
        straight = picture.convert("LA") if picture.mode == "La" else picture
        rgba = straight.convert("RGBA")
        if not composite_alpha:
            return rgba.convert("RGB")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def is_deep(picture: Image.Image) -> bool:
    """Whether a picture is grayscale with more than 8 bits."""
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def from_array(pixels: npt.NDArray[Any], label: str) -> Image.Image:
    """Convert an array to an 8-bit picture of mode L, RGB or RGBA.

    Args:
        pixels: ``[height, width]``, ``[height, width, 1]``, ``[height, width, 3]`` (RGB) or ``[height, width, 4]``
            (RGBA); bool, uint8, uint16, or float in [0, 1].
        label: Name of the array in messages.

    Raises:
        PictureError: ``empty`` without pixels, ``not_a_picture`` for another shape or type, ``unreadable`` for floats
            outside [0, 1] or NaN.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
        raise PictureError(
            "not_a_picture",
            label,
            f"{label}: an array of shape {pixels.shape} is not a picture. Give [height, width], [height, width, 3] or "
            "[height, width, 4]: one picture at a time, the channels last.",
        )
    if pixels.size == 0:
        raise PictureError("empty", label, f"{label}: an array of shape {pixels.shape} has no pixels.")
    if np.issubdtype(pixels.dtype, np.floating):
        # The negated test also catches NaN.
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise PictureError(
                "unreadable",
                label,
                f"{label}: float pixels must be in [0, 1]. Divide by 255 if they go up to 255, or give uint8.",
            )
        eight = _eight_bits(pixels, 1.0)
    elif pixels.dtype == np.bool_:
        eight = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype == np.uint16:
        eight = _eight_bits(pixels, 65535)
    elif pixels.dtype == np.uint8:
        eight = pixels
    else:
        raise PictureError(
            "not_a_picture",
            label,
            f"{label}: pixels of type {pixels.dtype} are not understood. Give uint8, uint16, or float in [0, 1].",
        )
    return Image.fromarray(np.ascontiguousarray(eight))


def _from_deep(picture: Image.Image, composite_alpha: bool) -> Image.Image:
    """Convert grayscale of 16 or 32 bits to RGB."""
    values = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        gray = _eight_bits(values, 65535)
        clear = picture.info.get("transparency")
        if composite_alpha and isinstance(clear, int):
            gray[values == clear] = 255
    else:
        if picture.mode == "F":
            values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        gray = _eight_bits(values, _full_scale(float(values.max()), whole=picture.mode == "I"))
    return Image.fromarray(gray).convert("RGB")


def _full_scale(greatest: float, whole: bool) -> float:
    """The value of white, by the highest value."""
    usual = (255.0, 65535.0) if whole else (1.0, 255.0, 65535.0)
    return next((top for top in usual if greatest <= top), greatest)


def _eight_bits(values: npt.NDArray[Any], top: float) -> npt.NDArray[np.uint8]:
    """Scale values in [0, top] to 0 to 255, rounded to nearest; negative values become 0."""
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        # Integer arithmetic is exact and takes half the memory, which matters for large scans.
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    wide = values.astype(np.float64) * (255.0 / top)
    result: npt.NDArray[np.uint8] = np.floor(np.clip(wide, 0.0, 255.0) + 0.5).astype(np.uint8)
    return result
