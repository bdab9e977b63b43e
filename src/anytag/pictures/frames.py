"""Pictures with nothing on them, and the frame of an animation that has something on it."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

#: Steps of 255 between the darkest and the brightest pixel of each color up to which nobody sees anything.
_INVISIBLE = 4

#: Formats whose frames follow each other in time, or are pages; in others (PSD, MPO) they are layers and depths.
_WITH_FRAMES = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")

#: Frames, and pixels of all of them together, that are looked through for one with something on it.
_MOST_FRAMES, _MOST_PIXELS = 100, 100_000_000


def is_blank(picture: Image.Image) -> bool:
    """Whether an RGB picture has the same color everywhere."""
    # Nearly every picture shows it in a few pixels; only the others are looked through.
    return _is_even(picture.resize((8, 8), Image.Resampling.NEAREST)) and _is_even(picture)


def _is_even(picture: Image.Image) -> bool:
    return all(high - low <= _INVISIBLE for low, high in picture.getextrema())  # type: ignore[misc]


def further_frames(picture: Image.Image) -> Iterator[Image.Image]:
    """The frames of an animation, or pages of a file, behind the first, one after the other in the same object.

    Damage ends them without an error: the first one has been read.
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
        # The pages of a TIFF differ in size, and may be huge.
        if picture.size[0] * picture.size[1] <= _MOST_PIXELS:
            yield picture
