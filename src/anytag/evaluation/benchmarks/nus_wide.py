"""NUS-WIDE's 81 concepts (Tag2Text table 12: 50,720 test pictures)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anytag.evaluation.benchmarks.benchmark import (
    Annotations,
    BenchmarkError,
    check_count,
    find_file,
    need_file,
    read_lines,
    tagging_entry,
)

_LIST = ("TestImagelist.txt", "ImageList/TestImagelist.txt")
_CONCEPTS = ("Concepts81.txt", "ConceptsList/Concepts81.txt")


def _read(folder: Path) -> Annotations:
    list_file, names = need_file(folder, *_LIST), read_lines(need_file(folder, *_CONCEPTS))
    pictures = tuple(line.replace("\\", "/") for line in read_lines(list_file))
    targets = np.zeros((len(pictures), len(names)), np.bool_)
    for column, name in enumerate(names):
        file = f"Labels_{name}_Test.txt"
        path = find_file(folder, file) or find_file(folder, f"TrainTestLabels/{file}")
        if path is None:
            raise BenchmarkError(f"{folder}: there is no {file}; get NUS-WIDE's ground truth")
        lines = read_lines(path)
        check_count(path, "pictures", len(lines), len(pictures))
        if bad := next((line for line in lines if line not in ("0", "1")), None):
            raise BenchmarkError(f"{path}: a label is {bad!r:.20}, not 0 or 1")
        targets[:, column] = [line == "1" for line in lines]
    return Annotations(
        list_file,
        pictures,
        tuple(names),
        targets,
        texts=tuple(name.replace("_", " ") for name in names),
        notes=(
            "the official test split has more pictures than the 50,720 of Tag2Text's table 12, many of which are gone "
            "from Flickr; missing pictures are counted",
        ),
        partial=True,
    )


ENTRY = tagging_entry(
    "nus-wide",
    "NUS-WIDE",
    107_859,
    81,
    (_LIST, _CONCEPTS),
    "NUS-WIDE's image list, concept list and ground truth (lms.comp.nus.edu.sg); its pictures",
    _read,
)
