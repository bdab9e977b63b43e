"""Pictures that ``anytag locate`` writes.

They are marked, so that they are never read as pictures, and no other file is ever overwritten.
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

#: The mark: a text chunk with a key and a value, at the start of the PNG.
_MARK = b"tEXtSoftware\0anytag locate"
_SOURCE = "anytag:source"

#: Highest number of bytes of a file name, and of characters of a tag in it.
_LONGEST_NAME, _LONGEST_TAG = 255, 60

#: Errors for names that the file system cannot store.
_BAD_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


def is_overlay(path: str | Path) -> bool:
    """Whether a file is a picture that ``anytag locate`` wrote."""
    if not os.fspath(path).lower().endswith(".png"):
        return False
    try:
        # Not a pipe, which cannot be read again.
        if not os.path.isfile(path):  # noqa: PTH113
            return False
        with open(path, "rb") as file:  # noqa: PTH123 (a path may be any text)
            head = file.read(128)
    except (OSError, ValueError):
        return False
    return head.startswith(b"\x89PNG") and _MARK in head


class OverlayFolder:
    """A folder for pictures with maps over them; created with the first."""

    def __init__(self, path: Path):
        self.path = path
        self._written: set[Path] = set()
        if os.path.lexists(path):
            self._make()

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"{self.path}: cannot be created as a folder ({reason}); give another --out") from None

    def write(self, source: str, tag: str, picture: Image.Image, heat: HeatMap) -> Path:
        """Write a picture (mode RGB) with its map (``[rows, columns]``, 0 to 1), and return the path.

        It is named after source and tag, with a number if there is such a file already that shows another source.

        Raises:
            PictureError: If the file system cannot store the name.
            UsageError: If nothing can be written there.
        """
        self._make()
        origin = hashlib.sha256(os.fsencode(os.path.abspath(source))).hexdigest()[:32]  # noqa: PTH100
        target = next(path for path in self._candidates(source, tag) if self._is_free(path, origin))
        self._written.add(target)
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

    def _candidates(self, source: str, tag: str) -> Iterator[Path]:
        slug = re.sub(r"\W+", "-", tag[:_LONGEST_TAG].lower()).strip("-") or "tag"
        for number in count(1):
            end = f"-{slug}{f'-{number}' if number > 1 else ''}.png"
            stem = Path(source).stem
            while len(os.fsencode(stem + end)) > _LONGEST_NAME:
                stem = stem[:-1]
            yield self.path / (stem + end)

    def _is_free(self, path: Path, origin: str) -> bool:
        if path in self._written:
            return False
        if not os.path.lexists(path):
            return True
        if path.is_symlink() or not is_overlay(path):
            return False
        try:
            with Image.open(path) as before:
                return before.info.get(_SOURCE) == origin
        except OSError:
            return False
