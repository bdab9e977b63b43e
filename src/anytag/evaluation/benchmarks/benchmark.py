"""Benchmarks: pictures, classes and annotations, and helpers to read annotation files."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anytag.errors import AnytagError
from anytag.evaluation.benchmarks.pictures import PictureFiles, Pictures, SelectedPictures
from anytag.foundations.wording import counted

Task = Literal["tagging", "captioning", "retrieval"]


class BenchmarkError(AnytagError):
    """A benchmark file is missing, damaged, or not the published one."""

    kind = "benchmark"


@dataclass(frozen=True)
class Benchmark:
    """An opened benchmark.

    Attributes:
        title: Name in papers.
        pictures: In the order of ``targets`` and ``captions``.
        names: The C classes as in the benchmark's own files, in their order; may contain duplicates.
        texts: The C classes in words, for parsers, prompts and vocabularies.
        synonyms: Reviewed synonyms by text.
        targets: ``[N, C]``, true for positives.
        known: ``[N, C]``, true where an annotator has checked; ``None``: what is not annotated counts as absent.
        captions: Human captions of each picture.
        notes: Caveats for readers of the figures.
    """

    key: str
    title: str
    task: Task
    pictures: Pictures
    names: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    targets: NDArray[np.bool_] | None = None
    known: NDArray[np.bool_] | None = None
    captions: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.pictures)
        if not count:
            raise BenchmarkError(f"{self.title}: there are no pictures")
        if self.task == "tagging":
            if self.targets is None or self.targets.shape != (count, len(self.names)):
                raise BenchmarkError(
                    f"{self.title}: annotations do not fit {count:,} pictures, {len(self.names)} classes"
                )
            if len(self.texts) != len(self.names):
                raise BenchmarkError(
                    f"{self.title}: {counted(len(self.names), 'class')} but {counted(len(self.texts), 'text')} for them"
                )
        elif len(self.captions) != count:
            raise BenchmarkError(f"{self.title}: captions of {len(self.captions):,} pictures, but {count:,} pictures")

    @property
    def empty_classes(self) -> list[str]:
        """Classes without positives."""
        if self.targets is None:
            return []
        return [self.names[column] for column in np.flatnonzero(~self.targets.any(axis=0))]

    def select(self, rows: Sequence[int]) -> Benchmark:
        """Select pictures by their places."""
        kept = list(rows)
        return replace(
            self,
            pictures=SelectedPictures(self.pictures, tuple(kept)),
            targets=None if self.targets is None else self.targets[kept],
            known=None if self.known is None else self.known[kept],
            captions=tuple(self.captions[row] for row in kept) if self.captions else (),
        )


@dataclass(frozen=True)
class BenchmarkEntry:
    """A benchmark that the project knows.

    Attributes:
        key: Name on the command line.
        title: Name in papers.
        classes: Number of classes; 0 for captions.
        files: Required annotation files, each with alternative names; ``.gz`` may follow a name.
        needs: What to download, and where.
        open: Opens it from the folder of its annotation files and, if available, the folder of its pictures.
    """

    key: str
    title: str
    task: Task
    pictures: int
    classes: int
    files: tuple[tuple[str, ...], ...]
    needs: str
    open: Callable[[Path, Path | None], Benchmark]


@dataclass(frozen=True)
class Annotations:
    """Contents of the annotation files of a tagging benchmark; see also :class:`Benchmark`.

    Attributes:
        pictures: Paths below the folder of pictures, with or without suffixes.
        names: The C classes, as in the files.
        targets: ``[N, C]``, true for positives.
        texts: The classes in words; ``None``: their names.
        folder: Default folder of the pictures.
        partial: Whether the number of pictures may differ from the published one.
    """

    source: Path
    pictures: tuple[str, ...]
    names: tuple[str, ...]
    targets: NDArray[np.bool_]
    texts: tuple[str, ...] | None = None
    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    known: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    partial: bool = False


def tagging_entry(
    key: str,
    title: str,
    pictures: int,
    classes: int,
    files: tuple[tuple[str, ...], ...],
    needs: str,
    read: Callable[[Path], Annotations],
    positives: int = 0,
) -> BenchmarkEntry:
    """Define a tagging benchmark by a function that reads its annotations; counts other than 0 are checked."""

    def open_(folder: Path, images: Path | None) -> Benchmark:
        annotations = read(folder)
        if pictures and not annotations.partial:
            check_count(annotations.source, "pictures", len(annotations.pictures), pictures)
        if classes:
            check_count(annotations.source, "classes", len(annotations.names), classes)
        if positives:
            check_count(annotations.source, "positives", int(annotations.targets.sum()), positives)
        return Benchmark(
            key,
            title,
            "tagging",
            PictureFiles(images or annotations.folder, annotations.pictures),
            annotations.names,
            annotations.texts or annotations.names,
            annotations.synonyms,
            annotations.kinds,
            annotations.targets,
            annotations.known,
            notes=annotations.notes,
        )

    return BenchmarkEntry(key, title, "tagging", pictures, classes, files, needs, open_)


def find_file(folder: Path, name: str) -> Path | None:
    """Find a file in a folder, plain or gzipped; ``None`` if it does not exist."""
    for ending in ("", ".gz"):
        path = folder / (name + ending)
        if path.is_file():
            return path
    return None


def need_file(folder: Path, *names: str) -> Path:
    """Find the first of the files that exists.

    Raises:
        BenchmarkError: If there is none.
    """
    for name in names:
        found = find_file(folder, name)
        if found is not None:
            return found
    raise BenchmarkError(f"{folder}: there is no {' or '.join(names)} (or .gz); give the folder with --annotations")


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, gzipped or not.

    Raises:
        BenchmarkError: If it is damaged or incomplete.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path}: cannot be read, damaged or incomplete ({error}); download it again") from None


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file that are not blank, stripped."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def read_json(path: Path) -> Any:
    """Read a JSON file, gzipped or not.

    Raises:
        BenchmarkError: If it is damaged or incomplete.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise BenchmarkError(f"{path}: not JSON, damaged or incomplete ({error}); download it again") from None


def check_count(path: Path, what: str, count: int, expected: int) -> None:
    """Check that a file has the published number of pictures, classes or positives.

    Raises:
        BenchmarkError: If the numbers differ.
    """
    if count != expected:
        raise BenchmarkError(
            f"{path}: {count:,} {what}, but the published benchmark has {expected:,}; "
            "the file is incomplete, or not the published one"
        )


def target_matrix(path: Path, rows: Iterable[Sequence[int]], pictures: int, classes: int) -> NDArray[np.bool_]:
    """Build ``[N, C]`` from the classes of each picture.

    Raises:
        BenchmarkError: If there is no such class.
    """
    table = np.zeros((pictures, classes), np.bool_)
    for row, places in enumerate(rows):
        for place in places:
            if not 0 <= place < classes:
                raise BenchmarkError(f"{path}: picture {row + 1} has class {place}, but there are {classes} classes")
            table[row, place] = True
    return table


def read_table(name: str) -> list[dict[str, str]]:
    """Read the rows of a reviewed table of this package, by column."""
    path = Path(__file__).parent / "names" / name
    head, *rows = [line.split("\t") for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    return [dict(zip(head, row, strict=True)) for row in rows]


def names_of(text: str) -> tuple[str, ...]:
    """Split the comma-separated names of a table's cell."""
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def read_named(path: Path, names: list[str]) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Read lines ``picture,tag,tag``, the format of the authors of RAM.

    Returns:
        Pictures, and targets ``[N, C]``; a duplicate name has two equal columns.

    Raises:
        BenchmarkError: If a tag is not in the list, or a picture occurs twice.
    """
    columns: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        columns.setdefault(name, []).append(place)
    pictures, rows = [], []
    for number, line in enumerate(read_lines(path), 1):
        picture, *tags = (part.strip() for part in line.split(","))
        places: list[int] = []
        for tag in filter(None, tags):
            if tag not in columns:
                raise BenchmarkError(f"{path}: line {number}: {tag!r} is not one of the {len(names)} classes")
            places += columns[tag]
        pictures.append(picture)
        rows.append(places)
    return _distinct(path, pictures), target_matrix(path, rows, len(pictures), len(names))


def read_numbered(path: Path, classes: int) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Read lines ``picture,id id`` with ids from 0: pictures, and targets ``[N, C]``.

    Raises:
        BenchmarkError: If an id is not a number or too large, or a picture occurs twice.
    """
    pictures, rows = [], []
    for number, line in enumerate(read_lines(path), 1):
        picture, _, ids = line.partition(",")
        try:
            rows.append([int(id) for id in ids.split()])
        except ValueError:
            raise BenchmarkError(f"{path}: line {number}: {ids!r:.60} are not the numbers of classes") from None
        pictures.append(picture.strip())
    return _distinct(path, pictures), target_matrix(path, rows, len(pictures), classes)


def _distinct(path: Path, pictures: list[str]) -> tuple[str, ...]:
    counts = Counter(pictures)
    if len(counts) < len(pictures):
        twice = next(picture for picture in counts if counts[picture] > 1)
        raise BenchmarkError(f"{path}: {twice} is on several lines; merge them")
    return tuple(pictures)
