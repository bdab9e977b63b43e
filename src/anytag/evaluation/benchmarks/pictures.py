"""The pictures of a benchmark, by their place in its annotations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from anytag.datasets.sources import IndexedSource
from anytag.errors import PictureError
from anytag.pictures import PictureSource

#: Endings that picture files of a benchmark may have, tried in this order.
_ENDINGS = ("", ".jpg", ".jpeg", ".png", ".JPEG", ".webp", ".avif")


class Pictures(Protocol):
    """The pictures of a benchmark, in the order of its annotations."""

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """What a picture is called in results."""

    def source(self, row: int) -> PictureSource:
        """What it is read from.

        Raises:
            PictureError: If it is listed but absent.
        """

    def stamp(self, row: int) -> str:
        """Another one for another file of that name; empty if it is absent. It is cheap: nothing is read."""


def stamp_of(*files: Path) -> str:
    """Sizes and times of files."""
    states = (file.stat() for file in files)
    return " ".join(f"{state.st_size}:{state.st_mtime_ns}" for state in states)


@dataclass(frozen=True)
class PictureFiles:
    """Pictures that lie in a folder.

    Attributes:
        folder: Where; ``None`` if only annotations are at hand.
        names: Paths below it, with or without their ending.
    """

    folder: Path | None
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        """The path below the folder."""
        return self.names[row]

    def source(self, row: int) -> Path:
        """The picture's file."""
        name = self.names[row]
        if self.folder is None:
            raise PictureError("not_found", name, f"{name}: no folder of pictures was given; give it as --pictures")
        for place in (self.folder / name, self.folder / Path(name).name):
            for ending in _ENDINGS:
                path = place.with_name(place.name + ending)
                if path.is_file():
                    return path
        raise PictureError("not_found", name, f"{name}: listed in the annotations, but not in {self.folder}")

    def stamp(self, row: int) -> str:
        """That of the picture's file."""
        try:
            return stamp_of(self.source(row))
        except (PictureError, OSError):
            return ""


@dataclass(frozen=True)
class SamplePictures:
    """Pictures of a source of samples, such as shards.

    Attributes:
        samples: The source.
        names: What its pictures are called.
        files: Where they lie; ``None`` for those that lie in one file with others.
    """

    samples: IndexedSource
    names: tuple[str, ...]
    files: tuple[Path | None, ...]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        """The sample's id."""
        return self.names[row]

    def source(self, row: int) -> PictureSource:
        """The picture's bytes."""
        return self.samples[row].picture_bytes()

    def stamp(self, row: int) -> str:
        """That of the picture's file, or of all files in which pictures lie together."""
        file = self.files[row]
        try:
            return self._together if file is None else stamp_of(file)
        except OSError:
            return ""

    @cached_property
    def _together(self) -> str:
        return stamp_of(*self.samples.content_files())


@dataclass(frozen=True)
class SelectedPictures:
    """Some of them.

    Attributes:
        pictures: All.
        rows: Places of those.
    """

    pictures: Pictures
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, row: int) -> str:
        """What it is called."""
        return self.pictures.name(self.rows[row])

    def source(self, row: int) -> PictureSource:
        """What it is read from."""
        return self.pictures.source(self.rows[row])

    def stamp(self, row: int) -> str:
        """That of its file."""
        return self.pictures.stamp(self.rows[row])
