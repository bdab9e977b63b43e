"""One picture in: anything that holds a picture becomes an upright RGB picture in sRGB, or a clear error."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from anytag.errors import PictureError, UsageError
from anytag.pictures.color_profiles import profile_of, to_srgb
from anytag.pictures.colors import from_array, is_deep, to_rgb
from anytag.pictures.failures import raise_unreadable
from anytag.pictures.frames import further_frames, is_blank
from anytag.pictures.identifying import Opened, identify
from anytag.pictures.integrity import can_hold
from anytag.pictures.quiet import quiet_decoders, silence_libtiff
from anytag.pictures.sources import PictureSource, describe, open_stream
from anytag.pictures.truncation import completions, lacks_pixels

#: Pictures with more pixels are refused before they are decoded. This is where Pillow itself refuses.
MAX_PIXELS = 178_956_970

#: JPEGs with more pixels than this may be decoded at a reduced scale. Below, exact pixels matter more than speed.
DRAFT_PIXELS = 4_000_000

#: How :func:`to_pixels` resizes. Both look at every pixel of a picture that shrinks (Pillow antialiases).
Interpolation = Literal["bicubic", "bilinear"]
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

#: What there is to know about a picture that was read: ``blank``, the same color everywhere; ``truncated``, its file
#: ends too early, and what is missing is gray or black.
Note = Literal["blank", "truncated"]

#: Formats of which a decoder leaves the rows that it came to.
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
        picture: Upright, of mode RGB, in sRGB.
        width: Upright, before any reduced decoding, in pixels.
        height: The same for the height.
        notes: What there is to know about it.
    """

    picture: Image.Image
    width: int
    height: int
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class _Options:
    """How to read; see :func:`read_picture`."""

    label: str
    max_pixels: int
    draft_size: int | None
    composite_alpha: bool
    accept_truncated: bool


def read_picture(
    source: PictureSource,
    *,
    max_pixels: int = MAX_PIXELS,
    draft_size: int | None = None,
    label: str | None = None,
    composite_alpha: bool = True,
    accept_truncated: bool = False,
) -> Image.Image:
    """Read a picture.

    Of an animation or a file with several pages, the first with something on it; of a camera file, its largest preview.
    EXIF orientation is applied, color profiles become sRGB, transparency is composited over white, and deep pixels are
    scaled to 8 bits (see :func:`~anytag.pictures.colors.to_rgb`). A file that was cut off where nothing shows, such as
    a JPEG without its last two bytes, is read like a whole one.

    Args:
        source: Where the picture is. An open file is read from where it stands and left open.
        max_pixels: Greatest width times height. It is checked before decoding. Above the default, Pillow's own limit
            (``PIL.Image.MAX_IMAGE_PIXELS``, half of the number at which it refuses) has to be raised too.
        draft_size: The side in pixels of the square that the picture will be resized to. A JPEG of more than
            :data:`DRAFT_PIXELS` is then decoded at 1/2, 1/4 or 1/8 of its size, but at no less than twice this side:
            several times faster, and not bit for bit what a full decode gives. ``None``: always in full.
        label: What to call the picture in errors; made from the source if not given.
        composite_alpha: ``False`` drops transparency instead, as the public Tag2Text and RAM code does.
        accept_truncated: Whether files that end before the picture does are read as far as they go; the rest is gray or
            black. Not of every format.

    Returns:
        A picture of mode RGB, with no metadata left. The source is not altered.

    Raises:
        PictureError: If it cannot be read; ``kind`` tells why.
        UsageError: If the source is of a type that cannot hold a picture.
    """
    return decode_picture(
        source,
        max_pixels=max_pixels,
        draft_size=draft_size,
        label=label,
        composite_alpha=composite_alpha,
        accept_truncated=accept_truncated,
    ).picture


def decode_picture(
    source: PictureSource,
    *,
    max_pixels: int = MAX_PIXELS,
    draft_size: int | None = None,
    label: str | None = None,
    composite_alpha: bool = True,
    accept_truncated: bool = False,
) -> DecodedPicture:
    """As :func:`read_picture`, with the original's size and what there is to know about it."""
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
    """The pixels that a model sees: the picture squashed to a square.

    Resize as the model was trained with, or was released with: any other way loses accuracy.

    Args:
        picture: A picture of any size and mode.
        resolution: The square's side R, in pixels.
        interpolation: ``"bicubic"``, or ``"bilinear"`` for the official Tag2Text, RAM and RAM++ weights.
        box: Left, upper, right and lower side of the part to take, in pixels; ``None``: all of it.

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
    # Not closed: that would close the stream, which is looked at again if this fails.
    return _decode(identify(stream, options.label, options.max_pixels), options, own=True)


def _decode_completed(stream: BinaryIO, options: _Options, error: PictureError) -> DecodedPicture:
    """Decode a file that ends too early, if that does not show or is accepted; else raise its error."""
    stream.seek(0)
    made_up = completions(stream.read())
    if made_up is None:
        raise error
    try:
        first, second = (_decode_stream(io.BytesIO(content), options) if content else None for content in made_up)
    except PictureError:
        raise error from None
    assert first is not None
    if second is not None and np.array_equal(np.asarray(first.picture), np.asarray(second.picture)):
        return first
    # Nothing at all comes out of a file that was cut off at its beginning.
    if not options.accept_truncated or "blank" in first.notes:
        raise error
    return DecodedPicture(first.picture, first.width, first.height, tuple({*first.notes, "truncated"}))


def _decode(opened: Opened, options: _Options, own: bool) -> DecodedPicture:
    """Decode, turn upright and convert.

    Args:
        opened: The picture.
        options: How.
        own: Whether it is nobody else's, so that it may be altered.
    """
    picture, label = opened.picture, options.label
    width, height = picture.size
    if width * height > options.max_pixels:
        raise PictureError(
            "too_large",
            label,
            f"{label}: {width} x {height} pixels are more than the limit of {options.max_pixels:,}. Make the picture "
            "smaller, or raise max_pixels if you trust it.",
        )
    if width * height == 0:
        raise PictureError("empty", label, f"{label}: a picture of {width} x {height} pixels holds nothing.")
    if opened.stream is not None and not can_hold(picture, opened.stream):
        error = ValueError(f"the file is far too short for {width} x {height} pixels")
        raise_unreadable(error, opened.stream, label)
    notes: list[Note] = []
    try:
        if not _load(opened, options):
            notes.append("truncated")
        # Some formats turn the picture when it is loaded, so the orientation is looked up only now.
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
    # TIFF has been turned by load() already: its sides are then those of the decoded picture.
    if isinstance(picture, ImageFile.ImageFile) and picture.format == "TIFF":
        width, height = upright.size
    elif turn is not None and _swaps_sides(turn):
        width, height = height, width
    return DecodedPicture(upright, width, height, tuple(notes))


def _load(opened: Opened, options: _Options) -> bool:
    """Decode the pixels.

    Returns:
        Whether all of them were there.
    """
    picture, size = opened.picture, options.draft_size
    width, height = picture.size
    if picture.format == "TIFF":
        silence_libtiff()
    if size is not None and width * height > DRAFT_PIXELS and isinstance(picture, ImageFile.ImageFile):
        # At twice the side or more, what is left to bicubic is a real reduction, and the loss stays invisible.
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
        # The rows that came are in place; without tiles, nothing more is decoded.
        assert isinstance(picture, ImageFile.ImageFile)
        picture.tile = []
        picture.load()
        return False
    return True


def _to_rgb(picture: Image.Image, profile: bytes | None, options: _Options, own: bool) -> Image.Image:
    """Any mode in sRGB."""
    if profile is None:
        return to_rgb(picture, options.composite_alpha)
    if is_deep(picture):
        picture, own = to_rgb(picture, options.composite_alpha).convert("L"), True
    return to_rgb(to_srgb(picture, profile, own), options.composite_alpha)


def _first_shown(
    picture: Image.Image, profile: bytes | None, options: _Options, first: Image.Image
) -> tuple[Image.Image, bool]:
    """The first frame with something on it, or else the very first; and whether it is blank."""
    kept = first.copy() if first is picture else first
    for frame in further_frames(picture):
        rgb = _to_rgb(frame, profile, options, False)
        if not is_blank(rgb):
            return rgb, False
    return kept, True


def _upright(rgb: Image.Image, turn: Image.Transpose | None, picture: Image.Image, own: bool) -> Image.Image:
    """The picture turned, as an object of its own, with no metadata."""
    if turn is not None:
        upright = rgb.transpose(turn)
    elif rgb is picture and not own:
        upright = rgb.copy()
    else:
        # A plain picture around the same pixels: a copy of a large one is hundreds of megabytes.
        upright = rgb._new(rgb.im) if own else rgb
    upright.info.clear()
    return upright


def _swaps_sides(turn: Image.Transpose) -> bool:
    quarter = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)
    return turn in (*quarter, Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE)


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if there is none, or if the metadata is damaged: that must not cost the picture."""
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1
