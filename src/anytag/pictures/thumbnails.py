"""Small JPEGs for display."""

from __future__ import annotations

import io

from anytag.pictures.reading import read_picture
from anytag.pictures.sources import PictureSource

#: Longest side, in pixels; sharp in a grid on high-resolution screens.
SIDE = 320

#: Quality of the JPEG, for about 12 kB.
_QUALITY = 75


def thumbnail(source: PictureSource) -> bytes:
    """Make a JPEG of a picture, at most :data:`SIDE` pixels wide and high.

    Raises:
        PictureError: If it cannot be read.
    """
    # A part of a truncated picture is better than nothing.
    picture = read_picture(source, draft_size=SIDE, accept_truncated=True)
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
