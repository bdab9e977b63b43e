"""Pictures that ``anytag locate`` writes.

They are marked, so that they are never taken for pictures again and nothing but them is ever overwritten.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from PIL import Image, PngImagePlugin

from anytag.errors import PictureError, UsageError
from anytag.foundations.atomic_files import whole_file
from anytag.pictures import overlay_heat_map
from anytag.pictures.heat_maps import HeatMap

#: The mark, as it stands right behind the size of a PNG: a chunk of text with a key and a value.
_MARK = b"tEXtSoftware\0anytag locate"
_SOURCE = "anytag:source"

#: Bytes that a name may have.
_LONGEST_NAME = 255

#: Letters of a tag that go into a name.
_LONGEST_TAG = 60

#: Errors of a name that this file system does not take; other names may do.
_BAD_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


def is_overlay(path: str | Path) -> bool:
    """Whether a file is a picture that ``anytag locate`` wrote."""
    if not os.fspath(path).lower().endswith(".png"):
        return False
    try:
        # Not what a pipe would give: nobody could read that again.
        if not os.path.isfile(path):  # noqa: PTH113
            return False
        with open(path, "rb") as file:  # noqa: PTH123 (a path may be any text)
            head = file.read(128)
    except (OSError, ValueError):
        return False
    return head.startswith(b"\x89PNG") and _MARK in head


class OverlayFolder:
    """A folder for pictures with maps over them; made when the first is written.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self._taken: set[Path] = set()
        if os.path.lexists(path):
            self._make()

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"{self.path}: cannot be made a folder ({reason}); give another --out") from None

    def write(self, source: str, tag: str, picture: Image.Image, heat: HeatMap) -> Path:
        """Write a picture with its map.

        Args:
            source: Where the picture came from.
            tag: What the map shows.
            picture: Mode RGB.
            heat: ``[rows, columns]``, 0 to 1.

        Returns:
            Where it was written: a name made of the source's and the tag's, numbered where there is such a file
            already that does not show the same source.

        Raises:
            PictureError: If the file system takes no such name.
            UsageError: If nothing can be written there.
        """
        self._make()
        origin = hashlib.sha256(os.fsencode(os.path.abspath(source))).hexdigest()[:32]  # noqa: PTH100
        target = next(place for place in self._places(source, tag) if self._is_free(place, origin))
        self._taken.add(target)
        marks = PngImagePlugin.PngInfo()
        marks.add_text("Software", "anytag locate")
        marks.add_text(_SOURCE, origin)
        try:
            with whole_file(target) as part:
                overlay_heat_map(picture, heat).save(part, "PNG", pnginfo=marks)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in _BAD_NAME:
                raise PictureError("not_written", source, f"{target}: cannot be written ({reason})") from None
            raise UsageError(f"{target}: cannot be written ({reason}); give another --out") from None
        return target

    def _places(self, source: str, tag: str) -> Iterator[Path]:
        named = re.sub(r"\W+", "-", tag[:_LONGEST_TAG].lower()).strip("-") or "tag"
        for number in count(1):
            end = f"-{named}{f'-{number}' if number > 1 else ''}.png"
            yield self.path / (_shortened(Path(source).stem, _LONGEST_NAME - len(os.fsencode(end))) + end)

    def _is_free(self, place: Path, origin: str) -> bool:
        if place in self._taken:
            return False
        if not os.path.lexists(place):
            return True
        if place.is_symlink() or not is_overlay(place):
            return False
        try:
            with Image.open(place) as before:
                return before.info.get(_SOURCE) == origin
        except OSError:
            return False


def _shortened(stem: str, most: int) -> str:
    """The start of a name that has so many bytes at the most."""
    while len(os.fsencode(stem)) > most:
        stem = stem[:-1]
    return stem
