"""Heat maps: normalize, resize and draw them over a picture."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from anytag.errors import UsageError

HeatMap = npt.NDArray[np.float32]
Resampling = Literal["nearest", "bilinear"]

_FILTERS = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}

#: RGB colors of 0, 0.25, … 1: dark violet, purple, red, orange, pale yellow.
_COLORS = np.array([(20, 5, 70), (130, 20, 110), (230, 60, 50), (250, 160, 10), (255, 250, 170)], np.float32)


def to_heat_map(values: npt.NDArray[np.floating]) -> HeatMap:
    """Scale values ``[rows, columns]`` to [0, 1]; all 0 if they are equal."""
    low, high = float(values.min()), float(values.max())
    if high == low:
        return np.zeros(values.shape, np.float32)
    heat: HeatMap = ((values - low) / (high - low)).astype(np.float32)
    return heat


def resize_heat_map(heat: HeatMap, width: int, height: int, resampling: Resampling = "bilinear") -> HeatMap:
    """Resize a map ``[rows, columns]`` in [0, 1] to a picture, ``[height, width]``.

    Raises:
        UsageError: If the resampling is unknown.
    """
    if resampling not in _FILTERS:
        raise UsageError(f"unknown resampling {resampling!r}; use one of: {', '.join(_FILTERS)}")
    stretched = Image.fromarray(heat.astype(np.float32)).resize((width, height), _FILTERS[resampling])
    return np.clip(np.asarray(stretched, np.float32), 0, 1)


def overlay_heat_map(picture: Image.Image, heat: HeatMap, opacity: float = 0.6) -> Image.Image:
    """Draw a map over a picture.

    Args:
        heat: ``[rows, columns]`` in [0, 1]; resized to the picture.
        opacity: Opacity of the colors, 0 to 1.

    Returns:
        A new RGB picture of the same size.

    Raises:
        UsageError: If the opacity is out of range.
    """
    if not 0 <= opacity <= 1:
        raise UsageError(f"opacity must lie between 0 and 1, not {opacity}")
    stretched = resize_heat_map(heat, *picture.size)
    stops = np.linspace(0, 1, len(_COLORS))
    colors = np.stack([np.interp(stretched, stops, channel) for channel in _COLORS.T], -1).astype(np.uint8)
    return Image.blend(picture.convert("RGB"), Image.fromarray(colors), opacity)
