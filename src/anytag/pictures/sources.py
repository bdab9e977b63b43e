"""Sources of pictures, and how they are opened."""

from __future__ import annotations

import errno
import glob
import io
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from anytag.errors import PictureError, UsageError
from anytag.pictures.finding import holds_pictures

#: Anything that :func:`~anytag.pictures.reading.read_picture` reads: a path, the bytes of a file, an open binary file,
#: a Pillow picture, or pixels (``[H, W]``, ``[H, W, 3]`` or ``[H, W, 4]``; uint8, uint16, or float in [0, 1]).
PictureSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | npt.NDArray[Any]

#: A :class:`~pathlib.Path` drops one of two slashes.
_WEB_ADDRESS = re.compile(r"(?i)\A(https?|ftps?|sftp|s3|gs):/{1,2}(?=[^/])")

#: System errors that mean that a file does not exist.
_NOWHERE = (errno.ELOOP, errno.ENAMETOOLONG)

#: Most bytes to read from a pipe or device, which may be endless.
_MOST_FROM_PIPE = 1 << 28


class NamedBytes(io.BytesIO):
    """A named picture in memory."""

    def __init__(self, name: str, content: bytes):
        super().__init__(content)
        self.name = name


def is_picture(value: object) -> bool:
    """Whether a value is one picture, rather than several or something else."""
    single = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)  # Some of them are iterable.
    return isinstance(value, single) or hasattr(value, "read")


def check_picture(name: str, picture: object) -> None:
    """Raise :class:`UsageError` if a value cannot be a picture."""
    if not is_picture(picture):
        raise UsageError(
            f"{name} is of the type {type(picture).__name__}; give a path, bytes, an open binary file, a Pillow "
            "picture or a numpy array"
        )


def describe(source: object, number: int | None = None) -> str:
    """A source's path or name, or its type in angle brackets, with its number if given."""
    if isinstance(source, str | os.PathLike):
        return _WEB_ADDRESS.sub(r"\1://", os.fsdecode(source), count=1)
    name = getattr(source, "filename" if isinstance(source, Image.Image) else "name", None)
    if isinstance(name, str | bytes | os.PathLike) and name:
        return os.fsdecode(name)
    kinds = {bytes: "bytes", bytearray: "bytes", memoryview: "bytes", Image.Image: "picture", np.ndarray: "array"}
    word = next((word for kind, word in kinds.items() if isinstance(source, kind)), "stream")
    return f"<{word}>" if number is None else f"<{word} {number}>"


def open_stream(source: object, label: str) -> BinaryIO:
    """Open a source as a seekable binary stream, which is never the caller's own object.

    Raises:
        PictureError: If the file does not exist, cannot be read, or is empty.
        UsageError: If the source cannot be a picture.
    """
    if isinstance(source, str | os.PathLike):
        stream = _open_file(os.fspath(source), label)
        if not stream.seekable():
            with stream:
                stream = io.BytesIO(_read_pipe(stream, label))
    elif isinstance(source, bytes | bytearray | memoryview):
        stream = io.BytesIO(source)
    elif hasattr(source, "read"):
        try:
            content = cast(BinaryIO, source).read()
        except (OSError, ValueError) as error:
            raise PictureError("unreadable", label, f"{label}: could not be read ({error}).") from error
        if not isinstance(content, bytes):
            raise UsageError(f"{label}: a picture was given as a file opened for text; open it with mode 'rb'")
        if not content:
            content = _read_again(cast(BinaryIO, source))
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


def _read_again(stream: BinaryIO) -> bytes:
    """Read a stream from its start if it is at its end, like one that was just written; empty if it cannot seek."""
    try:
        if not stream.seekable() or not stream.tell():
            return b""
        stream.seek(0)
        return stream.read()
    except (AttributeError, OSError, ValueError):
        return b""


def _read_pipe(stream: BinaryIO, label: str) -> bytes:
    content = stream.read(_MOST_FROM_PIPE + 1)
    if len(content) > _MOST_FROM_PIPE:
        message = f"{label}: gives more than {_MOST_FROM_PIPE >> 20} MiB, which no picture needs. Save it as a file."
        raise PictureError("too_large", label, message)
    return content


def _open_file(path: str, label: str) -> BinaryIO:
    if not path:
        raise PictureError("not_found", label, "an empty path was given; give the path of a picture.")
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError) or error.errno in _NOWHERE:
            raise PictureError("not_found", label, f"{label}: {_why_not_found(path, error)}") from error
        # Windows reports a missing permission for folders, so check for folders first.
        is_folder = os.path.isdir(path)  # noqa: PTH112
        if is_folder and os.access(path, os.R_OK | os.X_OK):
            message = f"{label}: a folder, not a picture. Give the pictures in it: anytag.find_pictures finds them."
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
    """Why a path does not exist, and what to do."""
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
