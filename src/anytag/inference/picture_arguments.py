"""Which arguments are one picture."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from anytag.errors import UsageError

#: Types of one picture that could be taken for an iterable of several.
_SINGLE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)


def is_picture(value: object) -> bool:
    """Whether a value is one picture, rather than several or nothing of the kind."""
    return isinstance(value, _SINGLE) or hasattr(value, "read")


def check_picture(name: str, picture: object) -> None:
    """Refuse at once what cannot hold a picture.

    Raises:
        UsageError: If it cannot.
    """
    if not is_picture(picture):
        raise UsageError(
            f"{name} is of the type {type(picture).__name__}; give a path, bytes, an open binary file, a Pillow "
            "picture or a numpy array"
        )
