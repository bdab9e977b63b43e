"""Find pictures, read them safely, and make batches of pixels.

:mod:`~anytag.pictures.finding` expands files, folders and globs, :mod:`~anytag.pictures.reading` reads any source as an
upright RGB picture, :mod:`~anytag.pictures.colors` converts all modes to RGB, :mod:`~anytag.pictures.preprocessing` and
:mod:`~anytag.pictures.normalization` prepare pixels for a model, :mod:`~anytag.pictures.multi_crop` crops corners, and
:mod:`~anytag.pictures.heat_maps` draws heat maps.
"""

from __future__ import annotations

from anytag.pictures.finding import find_names, find_pictures, read_list
from anytag.pictures.formats import PICTURE_EXTENSIONS
from anytag.pictures.heat_maps import overlay_heat_map, resize_heat_map
from anytag.pictures.left_out import LeftOut
from anytag.pictures.normalization import CLIP, IMAGENET, Normalization
from anytag.pictures.preprocessing import Batch, LoadedPicture, Preprocessing
from anytag.pictures.reading import MAX_PIXELS, DecodedPicture, Interpolation, decode_picture, read_picture, to_pixels
from anytag.pictures.sources import PictureSource

__all__ = [
    "CLIP",
    "IMAGENET",
    "MAX_PIXELS",
    "PICTURE_EXTENSIONS",
    "Batch",
    "DecodedPicture",
    "Interpolation",
    "LeftOut",
    "LoadedPicture",
    "Normalization",
    "PictureSource",
    "Preprocessing",
    "decode_picture",
    "find_names",
    "find_pictures",
    "overlay_heat_map",
    "read_list",
    "read_picture",
    "resize_heat_map",
    "to_pixels",
]
