"""Pictures in: find them, read them safely, and make batches of pixels.

:mod:`~anytag.pictures.finding` turns files, folders and globs into paths, :mod:`~anytag.pictures.reading` turns
anything that holds a picture into an upright RGB picture, :mod:`~anytag.pictures.colours` brings every mode to RGB,
and :mod:`~anytag.pictures.batching` streams batches of pixels, decoded ahead of the consumer.
"""

from __future__ import annotations

from anytag.pictures.batching import Batch, LoadedPicture, load_batches
from anytag.pictures.finding import PICTURE_EXTENSIONS, find_pictures, read_list
from anytag.pictures.reading import MAX_PIXELS, PictureSource, read_picture, to_pixels

__all__ = [
    "MAX_PIXELS",
    "PICTURE_EXTENSIONS",
    "Batch",
    "LoadedPicture",
    "PictureSource",
    "find_pictures",
    "load_batches",
    "read_list",
    "read_picture",
    "to_pixels",
]
