"""ADE20k's validation pictures, 150 classes of pixels, as tags: a class is true where any pixel has it.

RAM table 1; names of ``objectInfo150.txt`` (CSAILVision/sceneparsing) in ``names/ade20k.tsv``. The "clean" subset
leaves out "few small targets and ambiguous categories". Its list (issue 84 of the official code) has the names of 143
mapped classes, many twice, so that not every line can be told to be a certain one of the 150 classes. 132 can: 116
stand under their own name, and 16 under one that means the same. Those 132 are the clean subset here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from anytag.evaluation.benchmarks.benchmark import (
    Benchmark,
    BenchmarkEntry,
    BenchmarkError,
    PictureFiles,
    check_count,
    names_of,
    read_table,
)

_NEEDS = "ADEChallengeData2016.zip (data.csail.mit.edu/places/ADEchallenge), unpacked"
_FOLDERS = ("annotations/validation", "ADEChallengeData2016/annotations/validation")


def _annotation_folder(folder: Path) -> Path:
    for name in _FOLDERS:
        if (folder / name).is_dir():
            return folder / name
    raise BenchmarkError(f"{folder}: there is no {_FOLDERS[0]}; give the unpacked {_NEEDS}")


def _classes_of(path: Path) -> list[int]:
    try:
        with Image.open(path) as picture:
            values = np.unique(np.asarray(picture))
    except (OSError, SyntaxError) as error:
        raise BenchmarkError(f"{path}: cannot be read, damaged or cut short ({error}); get the file again") from None
    if values.max(initial=0) > 150:
        raise BenchmarkError(f"{path}: a pixel has class {values.max()}, but ADE20k has 150 (0 is no class)")
    return [int(value) - 1 for value in values if value]


def _open(key: str, title: str, clean: bool) -> BenchmarkEntry:
    table = read_table("ade20k.tsv")
    columns = [place for place, row in enumerate(table) if row["clean"] or not clean]

    def open_(folder: Path, images: Path | None) -> Benchmark:
        masks = _annotation_folder(folder)
        files = sorted(masks.glob("*.png"))
        check_count(masks, "annotated pictures", len(files), 2_000)
        targets = np.zeros((len(files), len(table)), np.bool_)
        for row, file in enumerate(files):
            targets[row, _classes_of(file)] = True
        kept = [table[place] for place in columns]
        beside = masks.parents[1] / "images" / "validation"
        notes: tuple[str, ...] = ("a class counts as present wherever a pixel has it, however small",)
        if clean:
            notes += (
                f"{len(kept)} of the 143 classes of the paper: those that are known from the authors' list of mapped "
                "names",
            )
        return Benchmark(
            key,
            title,
            "tagging",
            PictureFiles(images or (beside if beside.is_dir() else None), tuple(file.stem for file in files)),
            tuple(row["name"] for row in kept),
            tuple(row["name"] for row in kept),
            synonyms={row["name"]: names_of(row["synonyms"]) for row in kept},
            targets=targets[:, columns],
            notes=notes,
        )

    return BenchmarkEntry(key, title, "tagging", 2_000, len(columns), (), _NEEDS, open_)


ADE20K = _open("ade20k", "ADE20k", False)
CLEAN = _open("ade20k-clean", "ADE20k-clean", True)


def is_there(folder: Path) -> bool:
    """Whether the masks are in a folder."""
    return any((folder / name).is_dir() for name in _FOLDERS)
