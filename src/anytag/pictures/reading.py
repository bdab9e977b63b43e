"""One picture in: anything that holds a picture becomes an upright RGB picture, or a clear error."""

from __future__ import annotations

import errno
import glob
import io
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from anytag.errors import PictureError, UsageError
from anytag.pictures.colours import from_array, to_rgb
from anytag.pictures.finding import holds_pictures
from anytag.pictures.formats import PILLOW_DECODERS, READABLE
from anytag.pictures.integrity import is_cut_off, is_known

#: Anything that :func:`read_picture` reads: a path, the bytes of a file, an open binary file, a Pillow picture, or
#: pixels (``[H, W]``, ``[H, W, 3]`` or ``[H, W, 4]``; uint8, uint16, or float in [0, 1]).
PictureSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | npt.NDArray[Any]

#: Pictures with more pixels are refused before they are decoded. This is where Pillow itself refuses.
MAX_PIXELS = 178_956_970

#: JPEGs with more pixels than this may be decoded at a reduced scale. Below, exact pixels matter more than speed.
DRAFT_PIXELS = 4_000_000

#: A :class:`~pathlib.Path` leaves one slash of two.
_WEB_ADDRESS = re.compile(r"(?i)\A(https?|ftps?|sftp|s3|gs):/{1,2}(?=[^/])")
#: Errors of the system that mean that there is no file.
_NOWHERE = (errno.ELOOP, errno.ENAMETOOLONG)

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

#: How :func:`to_pixels` resizes. Both look at every pixel of a picture that shrinks (Pillow antialiases).
Interpolation = Literal["bicubic", "bilinear"]
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

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


def read_picture(
    source: PictureSource,
    *,
    max_pixels: int = MAX_PIXELS,
    draft_size: int | None = None,
    label: str | None = None,
    composite_alpha: bool = True,
) -> Image.Image:
    """Read a picture.

    Of an animation, the first frame; of a file with several pages, the first. EXIF orientation is applied, transparency
    is composited over white, and deep pixels are scaled to 8 bits (see :func:`~anytag.pictures.colours.to_rgb`).

    Args:
        source: Where the picture is. An open file is read from where it stands and left open.
        max_pixels: Greatest width times height. It is checked before decoding. Above the default, Pillow's own limit
            (``PIL.Image.MAX_IMAGE_PIXELS``, half of the number at which it refuses) has to be raised too.
        draft_size: The side in pixels of the square that the picture will be resized to. A JPEG of more than
            :data:`DRAFT_PIXELS` is then decoded at 1/2, 1/4 or 1/8 of its size, but at no less than twice this side:
            several times faster, and not bit for bit what a full decode gives. ``None``: always in full.
        label: What to call the picture in errors; made from the source if not given.
        composite_alpha: ``False`` drops transparency instead, as the public Tag2Text and RAM code does.

    Returns:
        A picture of mode RGB, with no metadata left. The source is not altered.

    Raises:
        PictureError: If it cannot be read; ``kind`` tells why.
        UsageError: If the source is of a type that cannot hold a picture.
    """
    return read_sized(
        source, max_pixels=max_pixels, draft_size=draft_size, label=label, composite_alpha=composite_alpha
    )[0]


def read_sized(
    source: PictureSource,
    *,
    max_pixels: int = MAX_PIXELS,
    draft_size: int | None = None,
    label: str | None = None,
    composite_alpha: bool = True,
) -> tuple[Image.Image, tuple[int, int]]:
    """As :func:`read_picture`, with the picture's upright width and height before any reduced decoding."""
    label = label if label is not None else describe(source)
    if isinstance(source, np.ndarray):
        source = from_array(source, label)
    if isinstance(source, Image.Image):
        return _decode(source, label, max_pixels, None, composite_alpha)
    with _open_stream(source, label) as stream:
        opened = _identify(stream, label)
        try:
            return _decode(opened, label, max_pixels, draft_size, composite_alpha, stream)
        finally:
            opened.close()


def to_pixels(picture: Image.Image, resolution: int, interpolation: Interpolation = "bicubic") -> npt.NDArray[np.uint8]:
    """The pixels that a model sees: the picture squashed to a square.

    Resize as the model was trained with, or was released with: any other way loses accuracy.

    Args:
        picture: A picture of any size and mode.
        resolution: The square's side R, in pixels.
        interpolation: ``"bicubic"``, or ``"bilinear"`` for the published Tag2Text, RAM and RAM++ weights.

    Returns:
        ``[R, R, 3]`` RGB, 0 to 255, not normalised; see :class:`~anytag.pictures.normalisation.Normalisation`.

    Raises:
        UsageError: If the resolution is below 1 or the interpolation is unknown.
    """
    if resolution < 1:
        raise UsageError(f"a resolution of {resolution} is not a side in pixels; give 1 or more")
    if interpolation not in _FILTERS:
        raise UsageError(f"interpolation is {interpolation!r}; use 'bicubic' or 'bilinear'")
    return np.array(to_rgb(picture).resize((resolution, resolution), _FILTERS[interpolation]), dtype=np.uint8)


def describe(source: object) -> str:
    """A source's path, or what kind of thing it is in angle brackets."""
    if isinstance(source, str | os.PathLike):
        return _WEB_ADDRESS.sub(r"\1://", os.fsdecode(source), count=1)
    name = getattr(source, "filename" if isinstance(source, Image.Image) else "name", None)
    if isinstance(name, str | bytes | os.PathLike) and name:
        return os.fsdecode(name)
    kinds = {bytes: "bytes", bytearray: "bytes", memoryview: "bytes", Image.Image: "picture", np.ndarray: "array"}
    return f"<{next((word for kind, word in kinds.items() if isinstance(source, kind)), 'stream')}>"


def _open_stream(source: object, label: str) -> BinaryIO:
    """A seekable binary stream at its start; never the caller's own object, so that it may be closed."""
    if isinstance(source, str | os.PathLike):
        stream = _open_file(os.fspath(source), label)
        if not stream.seekable():
            with stream:
                stream = io.BytesIO(stream.read())
    elif isinstance(source, bytes | bytearray | memoryview):
        stream = io.BytesIO(source)
    elif hasattr(source, "read"):
        try:
            content = cast(BinaryIO, source).read()
        except (OSError, ValueError) as error:
            raise PictureError("unreadable", label, f"{label}: could not be read ({error}).") from error
        if not isinstance(content, bytes):
            raise UsageError(f"{label}: a picture was given as a file opened for text; open it with mode 'rb'")
        stream = io.BytesIO(content)
    else:
        raise UsageError(
            f"a picture cannot be read from {type(source).__name__}; give a path, bytes, an open binary file, "
            "a Pillow picture or a numpy array"
        )
    if stream.seek(0, io.SEEK_END) == 0:
        stream.close()
        raise PictureError(
            "empty", label, f"{label}: the file is empty (0 bytes). The copy or download may have failed; get it again."
        )
    stream.seek(0)
    return stream


def _open_file(path: str, label: str) -> BinaryIO:
    """Open a file, or say why not."""
    if not path:
        raise PictureError("not_found", label, "an empty path was given; give the path of a picture.")
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError) or error.errno in _NOWHERE:
            raise PictureError("not_found", label, f"{label}: {_why_not_found(path, error)}") from error
        # Windows reports a folder as a missing permission, so the folder is asked about first.
        is_folder = os.path.isdir(path)  # noqa: PTH112
        if is_folder and os.access(path, os.R_OK | os.X_OK):
            message = f"{label}: a folder, not a picture. Give the pictures in it, or use find_pictures on the folder."
            if not holds_pictures(path):
                message = (
                    f"{label}: a folder with no pictures in it or in the folders inside; hidden files were left out."
                )
            raise PictureError("not_a_picture", label, message) from error
        if isinstance(error, PermissionError) or is_folder:
            message = f"{label}: no permission to read it. Change its permissions, or run as a user who may read it."
            raise PictureError("permission", label, message) from error
        raise PictureError("unreadable", label, f"{label}: could not be opened ({error.strerror or error}).") from error


def _why_not_found(path: str, error: Exception) -> str:
    """Why there is nothing at a path, and what to do."""
    if _WEB_ADDRESS.match(path):
        return "this is a web address, and nothing is downloaded. Download the picture first."
    if path.lower().startswith("file:/"):
        return "this is an address; give the path alone, without file://."
    if getattr(error, "errno", None) == errno.ELOOP:
        return "a link that leads back to itself. Remove the link."
    if getattr(error, "errno", None) == errno.ENAMETOOLONG:
        return "no such file; the name is too long for this system."
    if not isinstance(error, ValueError) and os.path.islink(path):  # noqa: PTH114
        return "a link to a file that is not there. Restore the file or remove the link."
    pattern = ", and nothing matches it as a pattern" if glob.has_magic(path) else ""
    return f"no such file{pattern}. Check the path; a relative one starts at {Path.cwd()}."


def _identify(stream: BinaryIO, label: str) -> ImageFile.ImageFile:
    """Read the header of a picture; nothing is decoded yet."""
    try:
        return Image.open(stream, formats=PILLOW_DECODERS)
    except UnidentifiedImageError as error:
        stream.seek(0)
        head = stream.read(32)
        # A damaged AVIF also names the general brand mif1, and a HEIC decoder would not help it.
        if head[4:8] == b"ftyp" and b"avif" not in head and any(brand in head[8:] for brand in _HEIC_BRANDS):
            return _identify_heic(stream, label)
        if not (known := is_known(head)) or not is_cut_off(stream):
            kind, what = ("unreadable", "a damaged picture") if known else ("not_a_picture", "not a picture")
            message = f"{label}: {what}, or in a format that is not read. Readable are {READABLE}."
            raise PictureError(kind, label, message) from error
        _raise_unreadable(error, stream, label)
    except Exception as error:
        _raise_unreadable(error, stream, label)


def _identify_heic(stream: BinaryIO, label: str) -> ImageFile.ImageFile:
    """Read the header of a HEIC picture, if the optional decoder is there."""
    try:
        # Used directly rather than registered: registering would change Pillow for the whole program.
        from pillow_heif import HeifImageFile
    except ImportError as error:
        message = f"{label}: a HEIC picture, which needs an optional decoder. Install it: pip install 'anytag[photos]'"
        raise PictureError("unreadable", label, message) from error
    stream.seek(0)
    try:
        return cast(ImageFile.ImageFile, HeifImageFile(stream))
    except Exception as error:
        _raise_unreadable(error, stream, label)


def _decode(
    opened: Image.Image,
    label: str,
    max_pixels: int,
    draft_size: int | None,
    composite_alpha: bool,
    stream: BinaryIO | None = None,
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode, turn upright and convert; the size is the upright one before any reduced decoding."""
    width, height = opened.size
    if width * height > max_pixels:
        raise PictureError(
            "too_large",
            label,
            f"{label}: {width} x {height} pixels are more than the limit of {max_pixels:,}. Make the picture smaller, "
            "or raise max_pixels if you trust it.",
        )
    if width * height == 0:
        raise PictureError("empty", label, f"{label}: a picture of {width} x {height} pixels holds nothing.")
    try:
        if draft_size is not None and width * height > DRAFT_PIXELS and isinstance(opened, ImageFile.ImageFile):
            # At twice the side or more, what is left to bicubic is a real reduction, and the loss stays invisible.
            opened.draft(None, (2 * draft_size, 2 * draft_size))
        opened.load()
        # Some formats turn the picture when it is loaded, so the orientation is looked up only now.
        turn = _TURNS.get(_orientation(opened))
        rgb = to_rgb(opened, composite_alpha)
        # A copy, since the source may be the caller's and its metadata would turn the picture a second time.
        picture = rgb.transpose(turn) if turn is not None else rgb.copy()
    except Exception as error:
        _raise_unreadable(error, stream, label)
    picture.info.clear()
    swapped = turn is not None and _swaps_sides(turn)
    # TIFF has been turned by load() already: its sides are then those of the decoded picture.
    if isinstance(opened, ImageFile.ImageFile) and opened.format == "TIFF":
        return picture, picture.size
    return picture, (height, width) if swapped else (width, height)


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


def _raise_unreadable(error: Exception, stream: BinaryIO | None, label: str) -> NoReturn:
    """Raise the error that fits what Pillow ran into."""
    if isinstance(error, PictureError):
        raise error
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning | MemoryError):
        message = (
            f"{label}: too many pixels to decode ({error}). Make the picture smaller; if you trust it, raise "
            "PIL.Image.MAX_IMAGE_PIXELS and max_pixels."
        )
        raise PictureError("too_large", label, message) from error
    # Pillow names its own stream object when it does not know a file; that tells a user nothing.
    detail = "its header cannot be read" if isinstance(error, UnidentifiedImageError) else str(error)
    cut = isinstance(error, EOFError) or "truncat" in detail.lower()
    if cut or (stream is not None and not stream.closed and is_cut_off(stream)):
        message = f"{label}: the file ends before the picture does ({detail}). Copy or download it again."
        raise PictureError("truncated", label, message) from error
    message = f"{label}: the picture is damaged and cannot be decoded ({detail}). Open it elsewhere and save it again."
    raise PictureError("unreadable", label, message) from error
