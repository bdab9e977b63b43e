"""Detect blank pictures, and iterate over further frames of an animation."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

#: Largest difference, of 255, between the darkest and the brightest pixel of each channel of a blank picture.
_INVISIBLE = 4

#: Formats whose frames are animations or pages; in others (PSD, MPO) they are layers or depth maps.
_WITH_FRAMES = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")

#: Most frames, and most pixels in total, that are searched for one that is not blank.
_MOST_FRAMES, _MOST_PIXELS = 100, 100_000_000


def is_blank(picture: Image.Image) -> bool:
    """Whether an RGB picture has a single color."""
    # A few pixels decide for nearly all pictures.
    return _is_even(picture.resize((8, 8), Image.Resampling.NEAREST)) and _is_even(picture)


def _is_even(picture: Image.Image) -> bool:
    return all(high - low <= _INVISIBLE for low, high in picture.getextrema())  # type: ignore[misc]


def further_frames(picture: Image.Image) -> Iterator[Image.Image]:
    """Iterate over the frames of an animation, or pages of a file, after the first, in the same object.

    It ends at a damaged frame without an error.
    """
    if picture.format not in _WITH_FRAMES:
        return
    width, height = picture.size
    most = min(_MOST_FRAMES, 1 + _MOST_PIXELS // max(1, width * height))
    for number in range(1, most):
        try:
            picture.seek(number)
            picture.load()
        except Exception:
            return  # The end, or damage.
        # The pages of a TIFF may differ in size, and be huge.
        if picture.size[0] * picture.size[1] <= _MOST_PIXELS:
            yield picture
