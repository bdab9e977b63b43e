"""ADE20k's validation pictures with 150 pixel classes as tags: a class is positive if any pixel has it.

RAM table 1; names of ``objectInfo150.txt`` (CSAILVision/sceneparsing) in ``names/ade20k.tsv``. The "clean" subset
leaves out 7 classes, "few small targets and ambiguous categories". The authors' list (issue 84 of the official code)
contains the names that they mapped its 143 classes to, in another order. 116 lines are a class name, and 16 a synonym
of one; those 132 are the clean subset here. The other 11 lines repeat a name (:data:`REPEATED`). Each is one of the
18 remaining classes, but it is unknown which.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from anytag.evaluation.benchmarks.benchmark import (
    Annotations,
    BenchmarkEntry,
    BenchmarkError,
    names_of,
    read_table,
    tagging_entry,
)

#: Names on two lines of the authors' list. One line is the class of that name; it is unknown which class the other is.
REPEATED = (
    "bar", "booth", "cabinet", "canopy", "case", "land", "pole", "sand", "skyscraper", "trade name", "waterfall",
)  # fmt: skip

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
        raise BenchmarkError(f"{path}: cannot be read, damaged or incomplete ({error}); download it again") from None
    if values.max(initial=0) > 150:
        raise BenchmarkError(f"{path}: a pixel has class {values.max()}, but ADE20k has 150 (0 is not a class)")
    return [int(value) - 1 for value in values if value]


def _open(key: str, title: str, clean: bool) -> BenchmarkEntry:
    table = read_table("ade20k.tsv")
    columns = [place for place, row in enumerate(table) if row["clean"] or not clean]

    def read(folder: Path) -> Annotations:
        masks = _annotation_folder(folder)
        files = sorted(masks.glob("*.png"))
        targets = np.zeros((len(files), len(table)), np.bool_)
        for row, file in enumerate(files):
            targets[row, _classes_of(file)] = True
        kept = [table[place] for place in columns]
        beside = masks.parents[1] / "images" / "validation"
        notes: tuple[str, ...] = ("a class counts as present wherever a pixel has it, however small",)
        if clean:
            left_out = [row["name"] for row in table if not row["clean"]]
            notes += (
                f"{len(kept)} of the paper's 143 classes; for the other {len(REPEATED)} the authors' list only repeats "
                f"a name ({', '.join(REPEATED)}), so it is unknown which of these {len(left_out)} classes they are: "
                f"{', '.join(left_out)}",
            )
        return Annotations(
            masks,
            tuple(file.stem for file in files),
            tuple(row["name"] for row in kept),
            targets[:, columns],
            synonyms={row["name"]: names_of(row["synonyms"]) for row in kept},
            notes=notes,
            folder=beside if beside.is_dir() else None,
        )

    return tagging_entry(key, title, 2_000, len(columns), (), _NEEDS, read)


ADE20K = _open("ade20k", "ADE20k", False)
CLEAN = _open("ade20k-clean", "ADE20k-clean", True)


def is_there(folder: Path) -> bool:
    """Whether the masks are in a folder."""
    return any((folder / name).is_dir() for name in _FOLDERS)
