"""HICO: 600 classes of a person who does something with an object (RAM++ table 1)."""

from __future__ import annotations

from pathlib import Path

from anytag.evaluation.benchmarks.annotation_lines import read_numbered
from anytag.evaluation.benchmarks.benchmark import (
    Benchmark,
    BenchmarkEntry,
    PictureFiles,
    check_count,
    need_file,
    read_lines,
)

_LINES = ("hico_600_annots.txt", "hico/hico_600_annots.txt")
_NAMES = ("hico_600_taglist.txt", "hico/hico_600_taglist.txt")


def _open(folder: Path, images: Path | None) -> Benchmark:
    lines, names_file = need_file(folder, *_LINES), need_file(folder, *_NAMES)
    names = read_lines(names_file)
    check_count(names_file, "classes", len(names), 600)
    pictures, targets = read_numbered(lines, 600)
    check_count(lines, "pictures", len(pictures), 9_658)
    check_count(lines, "positives", int(targets.sum()), 20_268)
    return Benchmark(
        "hico",
        "HICO",
        "tagging",
        PictureFiles(images, pictures),
        tuple(names),
        tuple(name.replace("_", " ") for name in names),
        targets=targets,
        notes=(
            "the authors' file keeps positives only: what HICO marks as ambiguous or unknown counts as absent, which "
            "lowers precision below HICO's own setting",
        ),
    )


ENTRY = BenchmarkEntry(
    "hico",
    "HICO",
    "tagging",
    9_658,
    600,
    (_LINES, _NAMES),
    "annotation files of the official code; pictures of HICO's test split",
    _open,
)
