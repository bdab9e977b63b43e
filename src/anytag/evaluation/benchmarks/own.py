"""Pictures with labels of the user's own: a folder, a CSV or JSON file, COCO's format, or shards.

The papers' OPPO-common (200 classes, 44,606 pictures) is internal to OPPO and was never released; similar labels can be
opened here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anytag.datasets.opening import guess_kind, open_source
from anytag.datasets.samples import Sample
from anytag.datasets.sources import IndexedSource
from anytag.errors import SampleError, UsageError
from anytag.evaluation.benchmarks.benchmark import Benchmark, BenchmarkEntry, BenchmarkError
from anytag.evaluation.benchmarks.pictures import SamplePictures
from anytag.foundations.wording import counted, listed

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


def _name(sample: Sample, row: int, path: Path) -> str:
    """Name a picture in results by its path below the source, or by its name in the shard."""
    if isinstance(sample.picture, Path):
        folder = path if path.is_dir() else path.parent
        return str(sample.picture.relative_to(folder) if sample.picture.is_relative_to(folder) else sample.picture)
    # The id of a row without one is its number.
    return sample.source if sample.source and sample.id == str(row) else sample.id


def open_own(
    path: str | Path,
    categories: Sequence[str] | None = None,
    title: str | None = None,
    pictures: Path | None = None,
) -> Benchmark:
    """Open labeled pictures as a benchmark.

    Labels are a sample's tags and human labels or, for pictures in one folder per class, the folders' names. If there
    are only captions, the task is captioning.

    Args:
        path: Anything that :func:`~anytag.datasets.opening.open_source` opens: a folder, file, or pattern of shards.
        categories: Only these; ``None``: all that occur. Other labels are counted and listed.
        title: Title; ``None``: the path's name.
        pictures: The folder that picture paths of a file start at; ``None``: the default of its format, such as beside
            a table.

    Raises:
        BenchmarkError: If there are neither labels nor captions, or none of the categories occurs.
        UsageError: If the source cannot be opened, or ``pictures`` is given for a source that contains them.
    """
    spec: dict[str, Any] = {"path": path}
    kind = guess_kind(str(path))
    if kind == "folder":
        spec["classes"] = None  # One folder per class, if there are no other labels.
    if pictures is not None and kind in ("folder", "shards"):
        raise UsageError(f"{path}: it contains its pictures; leave out --pictures, or give others NAME=FOLDER")
    if pictures is not None:
        spec["images"] = pictures
    source = open_source(spec)
    if not isinstance(source, IndexedSource):
        raise BenchmarkError(f"{path}: pictures must be accessible by index; decompress the shards first")
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
    kept = SamplePictures(source, tuple(rows), tuple(ids), tuple(files))
    notes = [source.description]
    if unreadable:
        notes.append(
            f"left out, as they cannot be read: {counted(len(unreadable), 'sample')}, the first: {unreadable[0]}"
        )
    if not any(labels):
        if not all(captions):
            raise BenchmarkError(f"{path}: some pictures have neither labels nor captions, so nothing can be measured")
        return Benchmark(name, name, "captioning", kept, captions=tuple(captions), notes=tuple(notes))
    labeled = sorted({label for entry in labels for label in entry})
    names = list(dict.fromkeys(categories)) if categories is not None else labeled
    column = {label: place for place, label in enumerate(names)}
    targets = np.zeros((len(rows), len(names)), np.bool_)
    outside: dict[str, None] = {}
    for row, entry in enumerate(labels):
        for label in entry:
            if label in column:
                targets[row, column[label]] = True
            else:
                outside[label] = None
    if not targets.any():
        raise UsageError(f"{path}: none of the categories ({listed(names)}) is among the labels ({listed(labeled)})")
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
