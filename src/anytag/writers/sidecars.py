"""Files beside a picture: which one belongs to it, and writing it without harm."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from anytag.errors import SidecarError
from anytag.foundations.atomic_files import whole_file
from anytag.writers.records import PictureRecord


class SidecarWriter(Protocol):
    """Says what stands in the file beside a picture; whoever asks writes it."""

    @property
    def name(self) -> str:
        """As ``--write`` says it."""

    @property
    def merges(self) -> bool:
        """Whether :meth:`render` keeps apart by itself what is ours and what is not.

        If not, it is given what stood there before anything of ours.
        """

    def target(self, record: PictureRecord) -> Path:
        """The file that the record goes to.

        Raises:
            SidecarError: If there can be none.
        """

    def render(self, record: PictureRecord, before: bytes | None) -> bytes | None:
        """What is to stand in the file.

        Args:
            record: The picture.
            before: What stands there, see :attr:`merges`; ``None``: nothing.

        Returns:
            The content; ``None``: the file is left alone.

        Raises:
            AnytagError: If what is there would be lost.
        """


def beside(record: PictureRecord, suffix: str) -> Path:
    """``photo.jpg`` and ``.txt`` give ``photo.txt``.

    Raises:
        SidecarError: If the picture is not a file of its own, or the name would be too long for the file system.
    """
    if record.in_archive:
        raise SidecarError(f"{record.path}: lies in an archive, so no sidecar can lie beside it; write a table instead")
    return checked(Path(record.path).with_suffix(suffix))


def checked(target: Path) -> Path:
    """The path, unless its name is too long.

    Raises:
        SidecarError: If it is.
    """
    if len(os.fsencode(target.name)) > 255 - len(".part"):
        raise SidecarError(f"{target}: the sidecar's name would be too long for the file system; shorten the picture's")
    return target


def replace_file(target: Path, data: bytes) -> Path:
    """Write a file whole or not at all; a link stays a link, and permissions stay as they are."""
    place = target.resolve()
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else None
    with whole_file(place) as part:
        part.write_bytes(data)
        if mode is not None:
            part.chmod(mode)
    return target
