"""The four overlapping corners of a picture: a closer look, where what is small in the whole is large."""

from __future__ import annotations

from PIL import Image

#: Corners of a picture: top left, bottom left, top right, bottom right.
CORNERS = 4

#: Side of a corner, relative to the picture's.
CORNER_SIDE = 0.6


def corner(picture: Image.Image, number: int) -> Image.Image:
    """One of the corners, by its number from 0."""
    width, height = picture.size
    right, low = divmod(number, 2)
    x, y = right * (1 - CORNER_SIDE) * width, low * (1 - CORNER_SIDE) * height
    # At least a pixel is left of the narrowest picture.
    box = int(x), int(y), max(int(x + CORNER_SIDE * width), int(x) + 1), max(int(y + CORNER_SIDE * height), int(y) + 1)
    return picture.crop(box)
