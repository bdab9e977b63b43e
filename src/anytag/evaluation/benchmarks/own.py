"""Pictures with labels of the user's own: a folder, a CSV or JSON file, COCO's form, or shards.

OPPO-common of the papers (200 classes, 44,606 pictures) is internal to its company and was never released; whoever has
labels of that kind opens them here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anytag.datasets.opening import guess_kind, open_source
from anytag.datasets.samples import Sample
from anytag.datasets.sources import IndexedSource
from anytag.errors import SampleError, UsageError
from anytag.evaluation.benchmarks.benchmark import (
    Benchmark,
    BenchmarkEntry,
    BenchmarkError,
)
from anytag.evaluation.benchmarks.pictures import Pictures, SamplePictures
from anytag.foundations.wording import counted, shown

OPPO = BenchmarkEntry(
    "oppo-common",
    "OPPO-common",
    "tagging",
    44_606,
    200,
    (("oppo_common_200.csv",),),
    "nothing: the set is internal to OPPO and was never released. Labels of your own are read in the same form: a CSV "
    "with the columns image and tags",
    lambda folder, images: open_own(folder / "oppo_common_200.csv", title="OPPO-common"),
)


class _Kept(IndexedSource):
    """Some samples of a source."""

    def __init__(self, source: IndexedSource, rows: Sequence[int]):
        self._source, self._rows = source, rows
        self.description, self.identity = source.description, source.identity

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        return self._source[self._rows[index]]

    def content_files(self) -> Iterable[Path]:
        return self._source.content_files()


def _name(sample: Sample, row: int, path: Path) -> str:
    """What a picture is called in results: its path below the source, or what its shard calls it."""
    if isinstance(sample.picture, Path):
        folder = path if path.is_dir() else path.parent
        return str(sample.picture.relative_to(folder) if sample.picture.is_relative_to(folder) else sample.picture)
    # A row without an id of its own has its number for one.
    return sample.source if sample.source and sample.id == str(row) else sample.id


def open_own(
    path: str | Path,
    categories: Sequence[str] | None = None,
    title: str | None = None,
    pictures: Path | None = None,
) -> Benchmark:
    """Open labeled pictures as a benchmark.

    Whatever :func:`~anytag.datasets.opening.open_source` opens will do. Labels are a sample's tags and human labels; of
    pictures that lie in a folder a class, without files beside them, the folders' names.
    Where there are none, but captions, captioning is measured.

    Args:
        path: A folder, file, or pattern of shards.
        categories: Only these; ``None``: all that occur. Labels outside are counted and named.
        title: What to call it; ``None``: the path's name.
        pictures: The folder that names of pictures start at, for a file that names them; ``None``: where its kind has
            them, such as beside a table.

    Raises:
        BenchmarkError: If there are neither labels nor captions, or none of the categories occurs.
        UsageError: If the source cannot be opened, or a folder of pictures is named for one that holds them.
    """
    spec: dict[str, Any] = {"path": path}
    kind = guess_kind(str(path))
    if kind == "folder":
        spec["classes"] = None  # A folder a class, where there is nothing else that tells what pictures show.
    if pictures is not None and kind in ("folder", "shards"):
        raise UsageError(f"{path}: it holds its pictures; leave --pictures out, or give it as NAME=FOLDER to others")
    if pictures is not None:
        spec["images"] = pictures
    source = open_source(spec)
    if not isinstance(source, IndexedSource):
        raise BenchmarkError(f"{path}: pictures must be at hand by their number; unpack compressed shards first")
    name = title or Path(str(path)).stem or str(path)
    ids, files, labels, captions, rows, unreadable = [], [], [], [], [], []
    for row in range(len(source)):
        try:
            sample = source[row]
        except SampleError as error:
            unreadable.append(str(error))
            continue
        ids.append(_name(sample, row, Path(path)))
        files.append(sample.picture if isinstance(sample.picture, Path) else None)
        labels.append(dict.fromkeys((*(tag.name for tag in sample.tags), *sample.labels)))
        captions.append(sample.captions)
        rows.append(row)
    if not rows:
        raise BenchmarkError(f"{path}: there are no pictures")
    kept: Pictures = SamplePictures(_Kept(source, rows), tuple(ids), tuple(files))
    notes = [source.description]
    if unreadable:
        notes.append(
            f"left out, as they cannot be read: {counted(len(unreadable), 'sample')}, the first: {unreadable[0]}"
        )
    if not any(labels):
        if not all(captions):
            raise BenchmarkError(f"{path}: some pictures have neither labels nor captions, so nothing can be measured")
        return Benchmark(name, name, "captioning", kept, captions=tuple(captions), notes=tuple(notes))
    seen = sorted({label for entry in labels for label in entry})
    names = list(dict.fromkeys(categories)) if categories is not None else seen
    column = {label: place for place, label in enumerate(names)}
    targets = np.zeros((len(rows), len(names)), np.bool_)
    outside: dict[str, int] = {}
    for row, entry in enumerate(labels):
        for label in entry:
            if label in column:
                targets[row, column[label]] = True
            else:
                outside[label] = outside.get(label, 0) + 1
    if not targets.any():
        raise UsageError(f"{path}: none of the categories ({shown(names)}) is among the labels ({shown(seen)})")
    if outside:
        notes.append(
            f"left out, as they are not among the categories: {counted(len(outside), 'label')}: {', '.join(outside)}"
        )
    bare = sum(not entry for entry in labels)
    if bare:
        notes.append(f"without a label: {counted(bare, 'picture')}; everything is absent there")
    return Benchmark(
        name,
        name,
        "tagging",
        kept,
        tuple(names),
        tuple(names),
        targets=targets,
        captions=tuple(captions) if all(captions) else (),
        notes=tuple(notes),
    )
