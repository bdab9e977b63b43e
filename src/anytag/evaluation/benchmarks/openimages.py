"""OpenImages-common (214 classes in RAM's tag list) and -rare (200 others), and the official labels.

RAM section 4.1, table 1. The authors' files list positives only; OpenImages itself also has *verified negatives*:
with them, only what an annotator has checked is scored.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anytag.evaluation.benchmarks.benchmark import (
    Annotations,
    BenchmarkEntry,
    BenchmarkError,
    find_file,
    need_file,
    read_lines,
    read_named,
    read_text,
    tagging_entry,
)
from anytag.foundations.wording import counted

_PICTURES = "pictures of the test split: open-images-dataset.s3.amazonaws.com/test/ID.jpg"
_FILES = "annotation files of the official code (datasets/openimages_*)"

_COMMON = (
    ("openimages_common_214_ram_annots.txt", "openimages_common_214/openimages_common_214_ram_annots.txt"),
    ("openimages_common_214_ram_taglist.txt", "openimages_common_214/openimages_common_214_ram_taglist.txt"),
)
_RARE = (
    ("openimages_rare_200_ram_annots.txt", "openimages_rare_200/openimages_rare_200_ram_annots.txt"),
    ("openimages_rare_200_ram_taglist.txt", "openimages_rare_200/openimages_rare_200_ram_taglist.txt"),
)
_RAM_LIST = ("ram_tag_list.txt", "ram/data/ram_tag_list.txt")


def _open(
    key: str, title: str, files: tuple[tuple[str, ...], ...], pictures: int, classes: int, positives: int
) -> BenchmarkEntry:
    def read(folder: Path) -> Annotations:
        lines, names = need_file(folder, *files[0]), read_lines(need_file(folder, *files[1]))
        found, targets = read_named(lines, names)
        notes = ("only positives are annotated; what is not listed counts as absent",)
        return Annotations(lines, found, tuple(names), targets, notes=notes)

    return tagging_entry(key, title, pictures, classes, files, f"{_FILES}; {_PICTURES}", read, positives)


COMMON = _open("openimages-common", "OpenImages-common", _COMMON, 57_224, 214, 67_866)
RARE = _open("openimages-rare", "OpenImages-rare", _RARE, 21_991, 200, 29_519)


def _stems(name: str) -> set[str]:
    """Forms of a name to search in a tag list: without hyphens, plural and -ing endings."""
    plain = re.sub(r"[-_ ]+", " ", name.lower()).strip()
    forms = {plain, plain.replace(" ", "")}
    for form in tuple(forms):
        if form.endswith("ies"):
            forms.add(form[:-3] + "y")
        if form.endswith("es"):
            forms.add(form[:-2])
        if form.endswith("s"):
            forms.add(form[:-1])
        if form.endswith("ing"):
            forms |= {form[:-3], form[:-3] + "e"}
            if len(form) > 5 and form[-4] == form[-5]:
                forms.add(form[:-4])
    return forms


def leaked_names(names: list[str], known: list[str]) -> list[str]:
    """Return the names that are training tags, also in plural, hyphenated or -ing forms."""
    have = {form for name in known for form in _stems(name)}
    return [name for name in names if _stems(name) & have]


def _read_deleaked(folder: Path) -> Annotations:
    rare, ram_list = RARE.open(folder, None), need_file(folder, *_RAM_LIST)
    leaked = set(leaked_names(list(rare.names), read_lines(ram_list)))
    columns = [place for place, name in enumerate(rare.names) if name not in leaked]
    assert rare.targets is not None
    targets = rare.targets[:, columns]
    rows = np.flatnonzero(targets.any(1))
    note = f"{len(leaked)} of 200 classes are left out, as RAM's own tag list has them: {', '.join(sorted(leaked))}"
    return Annotations(
        ram_list,
        tuple(rare.pictures.name(row) for row in rows.tolist()),
        tuple(rare.names[place] for place in columns),
        targets[rows],
        notes=(*rare.notes, note),
    )


DELEAKED = tagging_entry(
    "openimages-rare-deleaked",
    "OpenImages-rare, de-leaked",
    18_223,
    174,
    (*_RARE, _RAM_LIST),
    f"{_FILES} and ram_tag_list.txt; {_PICTURES}",
    _read_deleaked,
)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    reader = csv.reader(read_text(path).split("\n"))
    head = next(reader, [])
    missing = [column for column in columns if column not in head]
    if missing:
        raise BenchmarkError(f"{path}: there is no column {missing[0]!r}; the columns are {', '.join(head) or 'none'}")
    places = [head.index(column) for column in columns]
    for number, row in enumerate(reader, 2):
        if row:
            if len(row) <= max(places):
                raise BenchmarkError(f"{path}: line {number} is cut short")
            yield number, tuple(row[place] for place in places)


_LABELS = (
    "oidv7-test-annotations-human-imagelabels.csv",
    "oidv6-test-annotations-human-imagelabels.csv",
    "test-annotations-human-imagelabels.csv",
)
_CLASSES = ("oidv7-class-descriptions.csv", "class-descriptions.csv")


def _read_verified(folder: Path) -> Annotations:
    """Read the official labels of the 214 common classes, as far as an annotator has verified them."""
    list_file = find_file(folder, _COMMON[1][0]) or find_file(folder, _COMMON[1][1])
    classes_file, labels_file = need_file(folder, *_CLASSES), need_file(folder, *_LABELS)
    display = {label: name.lower() for _, (label, name) in _rows(classes_file, ("LabelName", "DisplayName"))}
    wanted = read_lines(list_file) if list_file else sorted(set(display.values()))
    column = {name.lower(): place for place, name in enumerate(wanted)}
    pictures: dict[str, int] = {}
    pairs: list[tuple[int, int, bool]] = []
    for number, (picture, label, confidence) in _rows(labels_file, ("ImageID", "LabelName", "Confidence")):
        if label not in display:
            raise BenchmarkError(f"{labels_file}: line {number}: {label!r} is not in {classes_file.name}")
        place = column.get(display[label])
        if place is None:
            continue
        if confidence.strip() not in ("0", "1", "0.0", "1.0"):
            raise BenchmarkError(f"{labels_file}: line {number}: Confidence is {confidence!r}, not 0 or 1")
        pairs.append((pictures.setdefault(picture, len(pictures)), place, float(confidence) == 1))
    if not pairs:
        raise BenchmarkError(f"{labels_file}: none of the {len(wanted)} classes is labeled")
    targets = np.zeros((len(pictures), len(wanted)), np.bool_)
    known = np.zeros_like(targets)
    for row, place, true in pairs:
        known[row, place] = True
        targets[row, place] |= true
    unmatched = [name for name in wanted if name.lower() not in set(display.values())]
    notes = ["only what a human has verified, as present or absent, is scored"]
    if unmatched:
        notes.append(
            f"without an OpenImages label of the same name: {counted(len(unmatched), 'class')}: {', '.join(unmatched)}"
        )
    return Annotations(
        labels_file,
        tuple(f"test/{picture}" for picture in pictures),
        tuple(wanted),
        targets,
        known=known,
        notes=tuple(notes),
    )


VERIFIED = tagging_entry(
    "openimages-verified",
    "OpenImages-common, verified labels",
    0,
    0,
    (_LABELS, _CLASSES),
    "storage.googleapis.com/openimages/v7: oidv7-test-annotations-human-imagelabels.csv, oidv7-class-descriptions.csv; "
    + _PICTURES,
    _read_verified,
)
