"""What every benchmark offers: pictures by name, classes, and what is true of which picture."""

from __future__ import annotations

import gzip
import json
import zlib
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
    """Benchmark files that are missing, damaged, or not those that they are taken for."""

    kind = "benchmark"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that was opened.

    Attributes:
        key: Short name.
        title: As papers call it.
        task: What is measured.
        pictures: In the order of ``targets`` and ``captions``.
        names: The C classes as the benchmark's own files call them, in their order; one may stand twice.
        texts: The C classes in words, for parsers, prompts and vocabularies.
        synonyms: By text, other names that mean the same (reviewed).
        kinds: By text, what sort of thing a class is.
        targets: ``[N, C]``, true for positives.
        known: ``[N, C]``, true where a human has looked; ``None``: what is not annotated counts as absent.
        captions: Per picture, what humans wrote.
        notes: What a reader of the figures must know.
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
        """Classes that are true of no picture; they are left out of means, or count as 0, and are named."""
        if self.targets is None:
            return []
        return [self.names[column] for column in np.flatnonzero(~self.targets.any(axis=0))]

    def select(self, rows: Sequence[int]) -> Benchmark:
        """Some of the pictures."""
        kept = list(rows)
        return replace(
            self,
            pictures=SelectedPictures(self.pictures, tuple(kept)),
            targets=None if self.targets is None else self.targets[kept],
            known=None if self.known is None else self.known[kept],
            captions=tuple(self.captions[row] for row in kept) if self.captions else (),
        )


#: Opens a benchmark: the folder of its annotation files, and that of its pictures, if it is at hand.
Opener = Callable[[Path, Path | None], Benchmark]


@dataclass(frozen=True)
class BenchmarkEntry:
    """A benchmark that the project knows.

    Attributes:
        key: Its name on the command line.
        title: As papers call it.
        task: What is measured.
        pictures: How many it has.
        classes: How many classes; 0 for captions.
        files: Annotation files that it needs, each with alternatives; ``.gz`` beside the name is as good.
        needs: What to get, and where, in words.
        open: Opens it.
    """

    key: str
    title: str
    task: Task
    pictures: int
    classes: int
    files: tuple[tuple[str, ...], ...]
    needs: str
    open: Opener

    def missing(self, folder: Path) -> list[str]:
        """The annotation files that are not in a folder."""
        return [names[0] for names in self.files if not any(find_file(folder, name) for name in names)]


@dataclass(frozen=True)
class Annotations:
    """What the annotation files of a tagging benchmark say.

    Attributes:
        source: The file, for messages.
        pictures: Paths below the folder of pictures, with or without their ending.
        names: The C classes, as the files call them.
        targets: ``[N, C]``, true for positives.
        texts: The classes in words; ``None``: their names.
        synonyms: See :class:`Benchmark`; so are ``kinds``, ``known`` and ``notes``.
        folder: Where the pictures are if no other folder is named.
        partial: Whether there may be other pictures than the published ones.
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
    """A tagging benchmark from what reads its annotations; its counts are checked where they are known (not 0)."""

    def open_(folder: Path, images: Path | None) -> Benchmark:
        found = read(folder)
        if pictures and not found.partial:
            check_count(found.source, "pictures", len(found.pictures), pictures)
        if classes:
            check_count(found.source, "classes", len(found.names), classes)
        if positives:
            check_count(found.source, "positives", int(found.targets.sum()), positives)
        return Benchmark(
            key,
            title,
            "tagging",
            PictureFiles(images or found.folder, found.pictures),
            found.names,
            found.texts or found.names,
            found.synonyms,
            found.kinds,
            found.targets,
            found.known,
            notes=found.notes,
        )

    return BenchmarkEntry(key, title, "tagging", pictures, classes, files, needs, open_)


def find_file(folder: Path, name: str) -> Path | None:
    """A file below a folder, plain or gzipped; ``None`` if it is not there."""
    for ending in ("", ".gz"):
        path = folder / (name + ending)
        if path.is_file():
            return path
    return None


def need_file(folder: Path, *names: str) -> Path:
    """The first of some files that is there.

    Raises:
        BenchmarkError: If there is none.
    """
    for name in names:
        found = find_file(folder, name)
        if found is not None:
            return found
    raise BenchmarkError(f"{folder}: there is no {' or '.join(names)} (or .gz); give the folder with --annotations")


def read_text(path: Path) -> str:
    """A text file in UTF-8, gzipped or not.

    Raises:
        BenchmarkError: If it is damaged or cut short.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path}: cannot be read, damaged or cut short ({error}); get the file again") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, without the blanks around them."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def read_json(path: Path) -> Any:
    """A JSON file, gzipped or not.

    Raises:
        BenchmarkError: If it is damaged or cut short.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise BenchmarkError(f"{path}: not JSON, damaged or cut short ({error}); get the file again") from None


def check_count(path: Path, what: str, found: int, wanted: int) -> None:
    """Refuse a file that is not the published one.

    Raises:
        BenchmarkError: If the numbers differ.
    """
    if found != wanted:
        raise BenchmarkError(
            f"{path}: {found:,} {what}, but the published benchmark has {wanted:,}; "
            "the file is cut short, or another one"
        )


def target_matrix(path: Path, rows: Iterable[Sequence[int]], pictures: int, classes: int) -> NDArray[np.bool_]:
    """``[N, C]`` from the classes of each picture.

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
    """A reviewed table of this package: rows by column."""
    path = Path(__file__).parent / "names" / name
    head, *rows = [line.split("\t") for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    return [dict(zip(head, row, strict=True)) for row in rows]


def names_of(text: str) -> tuple[str, ...]:
    """Comma-separated names of a table's cell."""
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)
