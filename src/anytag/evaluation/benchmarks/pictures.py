"""The pictures of a benchmark, by their place in its annotations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from anytag.datasets.sources import IndexedSource
from anytag.errors import PictureError
from anytag.pictures import PictureSource

#: Suffixes that are added to names, in this order.
_SUFFIXES = ("", ".jpg", ".jpeg", ".png", ".JPEG", ".webp", ".avif")


class Pictures(Protocol):
    """The pictures of a benchmark, in the order of its annotations."""

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """Return the name of a picture in results."""

    def source(self, row: int) -> PictureSource:
        """Return a picture's path or bytes.

        Raises:
            PictureError: If it is listed but missing.
        """

    def stamp(self, row: int) -> str:
        """Return a string that changes with the picture's file, without reading it; empty if it is missing."""


def _stamp(*files: Path) -> str:
    states = (file.stat() for file in files)
    return " ".join(f"{state.st_size}:{state.st_mtime_ns}" for state in states)


@dataclass(frozen=True)
class PictureFiles:
    """Pictures in a folder.

    Attributes:
        folder: The folder; ``None`` if only annotations are available.
        names: Paths below it, with or without suffixes.
    """

    folder: Path | None
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        return self.names[row]

    def source(self, row: int) -> Path:
        name = self.names[row]
        if self.folder is None:
            raise PictureError("not_found", name, f"{name}: no folder of pictures was given; give it as --pictures")
        for place in (self.folder / name, self.folder / Path(name).name):
            for suffix in _SUFFIXES:
                path = place.with_name(place.name + suffix)
                if path.is_file():
                    return path
        raise PictureError("not_found", name, f"{name}: listed in the annotations, but not in {self.folder}")

    def stamp(self, row: int) -> str:
        try:
            return _stamp(self.source(row))
        except (PictureError, OSError):
            return ""


@dataclass(frozen=True)
class SamplePictures:
    """Pictures of a source of samples, such as shards.

    Attributes:
        rows: Places of the pictures in ``samples``.
        files: Their files; ``None`` for those that share a file with others.
    """

    samples: IndexedSource
    rows: tuple[int, ...]
    names: tuple[str, ...]
    files: tuple[Path | None, ...]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        return self.names[row]

    def source(self, row: int) -> PictureSource:
        return self.samples[self.rows[row]].picture_bytes()

    def stamp(self, row: int) -> str:
        file = self.files[row]
        try:
            return self._stamp_of_all if file is None else _stamp(file)
        except OSError:
            return ""

    @cached_property
    def _stamp_of_all(self) -> str:
        return _stamp(*self.samples.content_files())


@dataclass(frozen=True)
class SelectedPictures:
    """Pictures at certain places among others."""

    pictures: Pictures
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, row: int) -> str:
        return self.pictures.name(self.rows[row])

    def source(self, row: int) -> PictureSource:
        return self.pictures.source(self.rows[row])

    def stamp(self, row: int) -> str:
        return self.pictures.stamp(self.rows[row])
