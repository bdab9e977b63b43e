"""Files beside a picture: their names, and writing them safely."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from anytag.errors import SidecarError
from anytag.foundations.atomic_files import whole_file
from anytag.writers.records import PictureRecord


class SidecarWriter(Protocol):
    """Renders the file beside a picture; the caller writes it."""

    @property
    def merges(self) -> bool:
        """Whether :meth:`render` itself separates anytag's part of a file from everything else.

        If not, :meth:`render` gets the file as it was before anytag wrote it.
        """

    def target(self, record: PictureRecord) -> Path:
        """Return the path of the sidecar.

        Raises:
            SidecarError: If the picture cannot have one.
        """

    def render(self, record: PictureRecord, before: bytes | None) -> bytes | None:
        """Return the new content of the file; ``None`` to leave the file alone.

        Args:
            record: The picture.
            before: The present content, see :attr:`merges`; ``None``: there is no file.

        Raises:
            AnytagError: If writing would lose content.
        """


def beside(record: PictureRecord, suffix: str) -> Path:
    """Return the path of a sidecar: ``photo.txt`` for ``photo.jpg`` and ``.txt``.

    Raises:
        SidecarError: If the picture is in an archive, or the name is too long for the file system.
    """
    if record.in_archive:
        raise SidecarError(f"{record.path}: is in an archive, so it cannot have a sidecar; write a table instead")
    return checked(Path(record.path).with_suffix(suffix))


def checked(target: Path) -> Path:
    """Return the path, after checking the length of its name.

    Raises:
        SidecarError: If the name is too long for the file system.
    """
    if len(os.fsencode(target.name)) > 255 - len(".part"):
        raise SidecarError(f"{target}: the sidecar's name would be too long for the file system; shorten the picture's")
    return target


def read_if_present(path: Path) -> bytes | None:
    """Read a file; ``None`` if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def replace_file(target: Path, data: bytes) -> None:
    """Write a file whole or not at all, through links, keeping its permissions."""
    place = target.resolve()
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else None
    with whole_file(place) as part:
        part.write_bytes(data)
        if mode is not None:
            part.chmod(mode)
