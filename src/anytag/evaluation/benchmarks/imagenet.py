"""ImageNet-Multi: ImageNet's validation pictures with the multiple labels of ImageNet-ReaL (RAM++ table 1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anytag.evaluation.benchmarks.benchmark import (
    Annotations,
    BenchmarkError,
    check_count,
    find_file,
    need_file,
    read_json,
    read_lines,
    read_numbered,
    tagging_entry,
    target_matrix,
)

_LINES = ("imagenet_multi_1000_annots.txt", "imagenet_multi/imagenet_multi_1000_annots.txt")
_NAMES = ("imagenet_multi_1000_taglist.txt", "imagenet_multi/imagenet_multi_1000_taglist.txt")


def _read(folder: Path) -> Annotations:
    names = read_lines(need_file(folder, *_NAMES))
    real = find_file(folder, "real.json")
    if real is not None and not any(find_file(folder, name) for name in _LINES):
        source, lists = real, read_json(real)
        if not isinstance(lists, list) or not all(isinstance(entry, list) for entry in lists):
            raise BenchmarkError(f"{real}: not a list of lists of classes; get real.json of ImageNet-ReaL")
        pictures = tuple(f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, len(lists) + 1))
        targets = target_matrix(real, lists, len(lists), len(names))
    else:
        source = need_file(folder, *_LINES)
        pictures, targets = read_numbered(source, len(names))
    check_count(source, "pictures", len(pictures), 50_000)
    rows = np.flatnonzero(targets.any(1))
    return Annotations(
        source,
        tuple(pictures[row] for row in rows),
        tuple(names),
        targets[rows],
        notes=(
            "3,163 of 50,000 pictures have no label and are left out, as the data's authors ask",
            "RAM++ reports 5,000 pictures, which are not published; nor is its split into 492 common and 508 uncommon "
            "classes, so all 1,000 are one column here",
            "two names each stand for two classes (missile, sunglasses)",
        ),
    )


ENTRY = tagging_entry(
    "imagenet-multi",
    "ImageNet-Multi",
    46_837,
    1000,
    ((*_LINES, "real.json"), _NAMES),
    "annotation files of the official code, or real.json of google-research/reassessed-imagenet; pictures of "
    "ILSVRC2012 val",
    _read,
)
