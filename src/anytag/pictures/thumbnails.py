"""Small pictures for people to look at."""

from __future__ import annotations

import io

from anytag.pictures.reading import read_picture
from anytag.pictures.sources import PictureSource

#: Longest side, in pixels: sharp on the grids of pages, also on fine screens.
SIDE = 320

#: Of JPEG: good enough to know a picture by, at about 12 kB.
_QUALITY = 75


def thumbnail(source: PictureSource) -> bytes:
    """A picture as a small JPEG.

    Args:
        source: Where the picture is.

    Returns:
        The JPEG, at most :data:`SIDE` wide and high.

    Raises:
        PictureError: If it cannot be read.
    """
    # What there is of a file that ends too early is better to look at than nothing.
    picture = read_picture(source, draft_size=SIDE, accept_truncated=True)
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
