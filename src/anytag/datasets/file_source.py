"""What sources have in common that are one file of many records."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from anytag.datasets.offsets import Records
from anytag.datasets.sources import IndexedSource


class FileSource(IndexedSource):
    """The records of one file, each found by its place in it.

    Attributes:
        path: The file.
        folder: Where relative paths of pictures start.
    """

    path: Path
    folder: Path
    _records: Records

    @cached_property
    def picture_contents(self) -> str:
        return self._pictures_by_file()

    def content_files(self) -> Iterable[Path]:
        return [self.path]

    def __len__(self) -> int:
        return len(self._records)
