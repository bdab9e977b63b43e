"""Text sidecars (``photo.txt``) with the tags on one line, as used to train image generators."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anytag.errors import SidecarError
from anytag.writers.records import PictureRecord
from anytag.writers.sidecars import beside

#: What to do with a text file that people wrote: raise an error, keep it, or append tags to it.
Existing = Literal["refuse", "keep", "append"]

TagOrder = Literal["score", "name"]


@dataclass(frozen=True)
class TextSidecars:
    """Write tags, and the caption if there is one, to a text file beside each picture.

    Attributes:
        separator: Text between tags.
        prefix: Words before the tags, such as a trigger word.
        existing: What to do with files that this output folder did not write.
        order: Best tags first, or by name.
        underscores: Write ``hot_dog`` for ``hot dog``.
        with_caption: Write the caption before the tags.
    """

    separator: str = ", "
    prefix: str = ""
    existing: Existing = "refuse"
    order: TagOrder = "score"
    underscores: bool = False
    with_caption: bool = False
    name: str = "txt"
    merges: bool = False

    def target(self, record: PictureRecord) -> Path:
        return beside(record, ".txt")

    def render(self, record: PictureRecord, before: bytes | None) -> bytes | None:
        """Return the content of one file; see :class:`~anytag.writers.sidecars.SidecarWriter`."""
        words = self._words(record)
        if before is None:
            return (self.separator.join(words) + "\n").encode("utf-8", "backslashreplace")
        if self.existing == "keep":
            return None
        target = self.target(record)
        if self.existing == "refuse":
            raise SidecarError(
                f"{target}: already exists and was not written by this output folder. --append adds tags to what "
                "people wrote, --keep-existing leaves it alone"
            )
        return self._appended(target, before, words).encode("utf-8", "backslashreplace")

    def _words(self, record: PictureRecord) -> list[str]:
        names = [tag.name for tag in record.tags]
        if self.order == "name":
            names.sort()
        names = [name.replace(" ", "_") for name in names] if self.underscores else names
        caption = [record.recognition.caption] if self.with_caption and record.recognition.caption else []
        return [word for word in (self.prefix, *caption, *names) if word]

    def _appended(self, target: Path, before: bytes, words: list[str]) -> str:
        try:
            there = before.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError:
            raise SidecarError(f"{target}: is not UTF-8, so nothing can be added to it safely; convert it") from None
        known = {word.strip().casefold() for word in there.split(self.separator.strip() or self.separator)}
        new = [word for word in words if word.casefold() not in known]
        return self.separator.join([*([there] if there.strip() else []), *new]) + "\n"
