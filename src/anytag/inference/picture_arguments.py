"""Tell one picture from several."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from anytag.errors import UsageError

#: Types of a single picture, some of which are iterable.
_SINGLE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)


def is_picture(value: object) -> bool:
    """Whether a value is one picture, rather than several or something else."""
    return isinstance(value, _SINGLE) or hasattr(value, "read")


def check_picture(name: str, picture: object) -> None:
    """Raise :class:`UsageError` if a value cannot be a picture."""
    if not is_picture(picture):
        raise UsageError(
            f"{name} is of the type {type(picture).__name__}; give a path, bytes, an open binary file, a Pillow "
            "picture or a numpy array"
        )
