"""HICO: 600 classes of human-object interactions (RAM++ table 1)."""

from __future__ import annotations

from pathlib import Path

from anytag.evaluation.benchmarks.benchmark import Annotations, need_file, read_lines, read_numbered, tagging_entry

_LINES = ("hico_600_annots.txt", "hico/hico_600_annots.txt")
_NAMES = ("hico_600_taglist.txt", "hico/hico_600_taglist.txt")


def _read(folder: Path) -> Annotations:
    lines, names = need_file(folder, *_LINES), read_lines(need_file(folder, *_NAMES))
    pictures, targets = read_numbered(lines, len(names))
    return Annotations(
        lines,
        pictures,
        tuple(names),
        targets,
        texts=tuple(name.replace("_", " ") for name in names),
        notes=(
            "the authors' file keeps positives only: what HICO marks as ambiguous or unknown counts as absent, which "
            "lowers precision below HICO's own setting",
        ),
    )


ENTRY = tagging_entry(
    "hico",
    "HICO",
    9_658,
    600,
    (_LINES, _NAMES),
    "annotation files of the official code; pictures of HICO's test split",
    _read,
    positives=20_268,
)
