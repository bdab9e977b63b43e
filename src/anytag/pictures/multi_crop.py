"""Four overlapping corner crops of a picture, in which small things are larger."""

from __future__ import annotations

from PIL import Image

#: Number of corners: top left, bottom left, top right, bottom right.
CORNERS = 4

#: Side of a crop, relative to the picture's.
CORNER_SIDE = 0.6


def corner(picture: Image.Image, number: int) -> Image.Image:
    """Crop a corner, by its number from 0."""
    width, height = picture.size
    right, low = divmod(number, 2)
    x, y = right * (1 - CORNER_SIDE) * width, low * (1 - CORNER_SIDE) * height
    # At least one pixel of a very narrow picture.
    box = int(x), int(y), max(int(x + CORNER_SIDE * width), int(x) + 1), max(int(y + CORNER_SIDE * height), int(y) + 1)
    return picture.crop(box)
