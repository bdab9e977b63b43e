"""Maps of where something is in a picture: brought to size, and laid over it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from anytag.errors import UsageError

HeatMap = npt.NDArray[np.float32]
Resampling = Literal["nearest", "bilinear"]

_FILTERS = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}

#: Heat from 0 to 1 in steps of a quarter, as red, green and blue: dark violet over red and orange to pale yellow.
_COLORS = np.array([(20, 5, 70), (130, 20, 110), (230, 60, 50), (250, 160, 10), (255, 250, 170)], np.float32)


def to_heat_map(values: npt.NDArray[np.floating]) -> HeatMap:
    """Values ``[rows, columns]`` moved and stretched to 0 … 1; all 0 if they are all the same."""
    low, high = float(values.min()), float(values.max())
    if high == low:
        return np.zeros(values.shape, np.float32)
    heat: HeatMap = ((values - low) / (high - low)).astype(np.float32)
    return heat


def resize_heat_map(heat: HeatMap, width: int, height: int, resampling: Resampling = "bilinear") -> HeatMap:
    """Stretch a map to a picture: encoders see pictures squashed to a square, so their cells stretch with it.

    Args:
        heat: ``[rows, columns]``, 0 to 1.
        width: Of the result, in pixels.
        height: Of the result, in pixels.
        resampling: ``nearest`` repeats cells, ``bilinear`` blends them.

    Returns:
        ``[height, width]``, 0 to 1.

    Raises:
        UsageError: If the resampling is unknown.
    """
    if resampling not in _FILTERS:
        raise UsageError(f"unknown resampling {resampling!r}; use one of: {', '.join(_FILTERS)}")
    stretched = Image.fromarray(heat.astype(np.float32)).resize((width, height), _FILTERS[resampling])
    return np.clip(np.asarray(stretched, np.float32), 0, 1)


def overlay_heat_map(picture: Image.Image, heat: HeatMap, opacity: float = 0.6) -> Image.Image:
    """Lay a map over its picture: the hotter, the brighter the color and the clearer the picture below.

    Args:
        picture: Any picture of mode RGB.
        heat: ``[rows, columns]``, 0 to 1; of any size, it is stretched over the picture.
        opacity: How much of the colors shows, 0 to 1.

    Returns:
        A new picture of mode RGB and of the picture's size.

    Raises:
        UsageError: If the opacity is out of range.
    """
    if not 0 <= opacity <= 1:
        raise UsageError(f"opacity must lie between 0 and 1, not {opacity}")
    stretched = resize_heat_map(heat, *picture.size)
    stops = np.linspace(0, 1, len(_COLORS))
    colors = np.stack([np.interp(stretched, stops, channel) for channel in _COLORS.T], -1).astype(np.uint8)
    return Image.blend(picture.convert("RGB"), Image.fromarray(colors), opacity)
