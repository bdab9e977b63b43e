"""Read any source of a picture as an upright RGB picture in sRGB, or raise a clear error."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO, Literal, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from anytag.errors import PictureError, UsageError
from anytag.pictures.color_profiles import profile_of, to_srgb
from anytag.pictures.colors import from_array, is_deep, to_rgb
from anytag.pictures.failures import raise_too_large, raise_unreadable
from anytag.pictures.frames import further_frames, is_blank
from anytag.pictures.identifying import Opened, identify
from anytag.pictures.integrity import can_hold
from anytag.pictures.quiet import quiet_decoders, silence_libtiff
from anytag.pictures.sources import PictureSource, describe, open_stream
from anytag.pictures.truncation import completions, lacks_pixels

#: Pictures with more pixels are refused before they are decoded. This is also Pillow's limit.
MAX_PIXELS = 178_956_970

#: JPEGs with more pixels may be decoded at a reduced scale.
DRAFT_PIXELS = 4_000_000

#: Interpolation of :func:`to_pixels`, with antialiasing.
Interpolation = Literal["bicubic", "bilinear"]
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

#: Notes about a picture: ``blank``: it has a single color; ``truncated``: its file ends too early, and missing pixels
#: are gray or black.
Note = Literal["blank", "truncated"]

#: Formats whose decoders keep the rows before an error.
_ROW_BY_ROW = ("PNG", "GIF", "BMP", "TIFF", "PPM", "PSD")

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """A picture that was read.

    Attributes:
        picture: Upright, in mode RGB and sRGB.
        width: Width of the upright original, in pixels.
        height: Height of the upright original, in pixels.
    """

    picture: Image.Image
    width: int
    height: int
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class _Options:
    label: str
    max_pixels: int
    draft_size: int | None
    composite_alpha: bool
    accept_truncated: bool


class ReadOptions(TypedDict, total=False):
    """Options of :func:`decode_picture`."""

    max_pixels: int
    draft_size: int | None
    label: str | None
    composite_alpha: bool
    accept_truncated: bool


def read_picture(source: PictureSource, **options: Unpack[ReadOptions]) -> Image.Image:
    """Read a picture in mode RGB, without metadata; see :func:`decode_picture` for options and errors."""
    return decode_picture(source, **options).picture


def decode_picture(
    source: PictureSource,
    *,
    max_pixels: int = MAX_PIXELS,
    draft_size: int | None = None,
    label: str | None = None,
    composite_alpha: bool = True,
    accept_truncated: bool = False,
) -> DecodedPicture:
    """Read a picture, with its original size and notes.

    Of an animation or a file with several pages, this is the first one that is not blank; of a camera file, the largest
    preview. EXIF orientation is applied, colors are converted to sRGB, transparency is composited over white, and deep
    pixels are scaled to 8 bits (see :func:`~anytag.pictures.colors.to_rgb`). A file that is truncated without losing
    visible pixels, such as a JPEG without its last two bytes, is read like a complete one.

    Args:
        source: The picture. An open file is read from its current position and left open.
        max_pixels: Highest width times height, checked before decoding. To raise it above the default, also raise
            Pillow's limit (``PIL.Image.MAX_IMAGE_PIXELS``, half of the number that it refuses).
        draft_size: Side in pixels of the square that the picture will be resized to. A JPEG of more than
            :data:`DRAFT_PIXELS` is then decoded at 1/2, 1/4 or 1/8 of its size, but not below twice this side, which is
            several times faster and slightly inexact. ``None``: always in full.
        label: Name of the picture in errors; ``None``: made from the source.
        composite_alpha: ``False`` drops transparency, as the official Tag2Text and RAM code does.
        accept_truncated: Read truncated files as far as possible, with gray or black for missing pixels. Not supported
            for all formats.

    Raises:
        PictureError: If it cannot be read; ``kind`` says why.
        UsageError: If the source cannot be a picture.
    """
    label = label if label is not None else describe(source)
    options = _Options(label, max_pixels, draft_size, composite_alpha, accept_truncated)
    if isinstance(source, np.ndarray):
        source = from_array(source, label)
    with quiet_decoders():
        if isinstance(source, Image.Image):
            return _decode(Opened(source), options, own=False)
        with open_stream(source, label) as stream:
            try:
                return _decode_stream(stream, options)
            except PictureError as error:
                if error.kind != "truncated":
                    raise
                return _decode_completed(stream, options, error)


def to_pixels(
    picture: Image.Image,
    resolution: int,
    interpolation: Interpolation = "bicubic",
    box: tuple[float, float, float, float] | None = None,
) -> npt.NDArray[np.uint8]:
    """Resize a picture to the square that a model expects, without preserving its aspect ratio.

    Args:
        resolution: Side R of the square, in pixels.
        interpolation: As in the model's training: ``"bicubic"``, or ``"bilinear"`` for the official Tag2Text, RAM and
            RAM++ weights.
        box: Left, upper, right and lower side of the part to use, in pixels; ``None``: the whole picture.

    Returns:
        ``[R, R, 3]`` RGB, 0 to 255, not normalized; see :class:`~anytag.pictures.normalization.Normalization`.

    Raises:
        UsageError: If the resolution is below 1 or the interpolation is unknown.
    """
    if resolution < 1:
        raise UsageError(f"a resolution of {resolution} is not a side in pixels; give 1 or more")
    if interpolation not in _FILTERS:
        raise UsageError(f"interpolation is {interpolation!r}; use 'bicubic' or 'bilinear'")
    return np.array(to_rgb(picture).resize((resolution, resolution), _FILTERS[interpolation], box), dtype=np.uint8)


def _decode_stream(stream: BinaryIO, options: _Options) -> DecodedPicture:
    # Not closed, because that would close the stream, which is read again if this fails.
    return _decode(identify(stream, options.label, options.max_pixels), options, own=True)


def _decode_completed(stream: BinaryIO, options: _Options, error: PictureError) -> DecodedPicture:
    """Decode a truncated file, if no visible pixels are missing or it is accepted; otherwise raise ``error``."""
    stream.seek(0)
    completed = completions(stream.read())
    if completed is None:
        raise error
    try:
        first, second = (_decode_stream(io.BytesIO(content), options) if content else None for content in completed)
    except PictureError:
        raise error from None
    assert first is not None
    if second is not None and np.array_equal(np.asarray(first.picture), np.asarray(second.picture)):
        return first
    # Nothing is left of a file that is truncated near its beginning.
    if not options.accept_truncated or "blank" in first.notes:
        raise error
    return DecodedPicture(first.picture, first.width, first.height, tuple({*first.notes, "truncated"}))


def _decode(opened: Opened, options: _Options, own: bool) -> DecodedPicture:
    """Decode, rotate and convert; ``own`` pictures may be changed in place."""
    picture, label = opened.picture, options.label
    width, height = picture.size
    if width * height > options.max_pixels:
        raise_too_large(label, width, height, options.max_pixels)
    if width * height == 0:
        raise PictureError("empty", label, f"{label}: a picture of {width} x {height} pixels is empty.")
    if opened.stream is not None and not can_hold(picture, opened.stream):
        error = ValueError(f"the file is far too short for {width} x {height} pixels")
        raise_unreadable(error, opened.stream, label)
    notes: list[Note] = []
    try:
        if not _load(opened, options):
            notes.append("truncated")
        # Some formats are rotated when loaded, so the orientation is read after that.
        turn = _TURNS.get(opened.orientation or _orientation(picture))
        profile = profile_of(picture, opened.stream)
        rgb = _to_rgb(picture, profile, options, own)
        if is_blank(rgb):
            rgb, blank = _first_shown(picture, profile, options, rgb) if own and not notes else (rgb, True)
            notes += ["blank"] if blank else []
        if notes == ["truncated", "blank"]:
            raise EOFError("none of its pixels are there")
        upright = _upright(rgb, turn, picture, own)
    except Exception as error:
        raise_unreadable(error, opened.stream, label)
    # load() already rotated a TIFF.
    if isinstance(picture, ImageFile.ImageFile) and picture.format == "TIFF":
        width, height = upright.size
    elif turn is not None and _swaps_sides(turn):
        width, height = height, width
    return DecodedPicture(upright, width, height, tuple(notes))


def _load(opened: Opened, options: _Options) -> bool:
    """Decode the pixels; return whether all of them were in the file."""
    picture, size = opened.picture, options.draft_size
    width, height = picture.size
    if picture.format == "TIFF":
        silence_libtiff()
    if size is not None and width * height > DRAFT_PIXELS and isinstance(picture, ImageFile.ImageFile):
        # From twice the side or more, the picture is still reduced afterwards, so the loss is invisible.
        picture.draft(None, (2 * size, 2 * size))
    try:
        picture.load()
        if opened.stream is not None and lacks_pixels(opened.stream, picture.format):
            raise EOFError("its end is empty")
    except Exception as error:
        if not options.accept_truncated or picture.format not in _ROW_BY_ROW:
            raise
        try:
            raise_unreadable(error, opened.stream, options.label)
        except PictureError as known:
            if known.kind != "truncated":
                raise
        # Keep the rows decoded so far; without tiles, nothing more is decoded.
        assert isinstance(picture, ImageFile.ImageFile)
        picture.tile = []
        picture.load()
        return False
    return True


def _to_rgb(picture: Image.Image, profile: bytes | None, options: _Options, own: bool) -> Image.Image:
    """Convert any mode to RGB in sRGB."""
    if profile is None:
        return to_rgb(picture, options.composite_alpha)
    if is_deep(picture):
        picture, own = to_rgb(picture, options.composite_alpha).convert("L"), True
    return to_rgb(to_srgb(picture, profile, own), options.composite_alpha)


def _first_shown(
    picture: Image.Image, profile: bytes | None, options: _Options, first: Image.Image
) -> tuple[Image.Image, bool]:
    """The first frame that is not blank, or else the first; and whether it is blank."""
    kept = first.copy() if first is picture else first
    for frame in further_frames(picture):
        rgb = _to_rgb(frame, profile, options, False)
        if not is_blank(rgb):
            return rgb, False
    return kept, True


def _upright(rgb: Image.Image, turn: Image.Transpose | None, picture: Image.Image, own: bool) -> Image.Image:
    """Rotate the picture; a separate object without metadata."""
    if turn is not None:
        upright = rgb.transpose(turn)
    elif rgb is picture and not own:
        upright = rgb.copy()
    else:
        # A new picture with the same pixels, because a copy may take hundreds of megabytes.
        upright = rgb._new(rgb.im) if own else rgb
    upright.info.clear()
    return upright


def _swaps_sides(turn: Image.Transpose) -> bool:
    quarter = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)
    return turn in (*quarter, Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE)


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if there is none, or the metadata is damaged."""
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1
