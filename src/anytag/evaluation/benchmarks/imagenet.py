"""ImageNet-Multi: ImageNet's validation pictures with the several labels of ImageNet-ReaL (RAM++ table 1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anytag.evaluation.benchmarks.annotation_lines import read_numbered
from anytag.evaluation.benchmarks.benchmark import (
    Benchmark,
    BenchmarkEntry,
    BenchmarkError,
    PictureFiles,
    check_count,
    find_file,
    need_file,
    read_json,
    read_lines,
    target_matrix,
)

_LINES = ("imagenet_multi_1000_annots.txt", "imagenet_multi/imagenet_multi_1000_annots.txt")
_NAMES = ("imagenet_multi_1000_taglist.txt", "imagenet_multi/imagenet_multi_1000_taglist.txt")


def _open(folder: Path, images: Path | None) -> Benchmark:
    names_file = need_file(folder, *_NAMES)
    names = read_lines(names_file)
    check_count(names_file, "classes", len(names), 1000)
    real = find_file(folder, "real.json")
    if real is not None and not any(find_file(folder, name) for name in _LINES):
        lists = read_json(real)
        if not isinstance(lists, list) or not all(isinstance(entry, list) for entry in lists):
            raise BenchmarkError(f"{real}: not a list of lists of classes; get real.json of ImageNet-ReaL")
        pictures = tuple(f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, len(lists) + 1))
        targets, source = target_matrix(real, lists, len(lists), 1000), real
    else:
        source = need_file(folder, *_LINES)
        pictures, targets = read_numbered(source, 1000)
    check_count(source, "pictures", len(pictures), 50_000)
    rows = np.flatnonzero(targets.any(1)).tolist()
    check_count(source, "pictures with a label", len(rows), 46_837)
    return Benchmark(
        "imagenet-multi",
        "ImageNet-Multi",
        "tagging",
        PictureFiles(images, pictures),
        tuple(names),
        tuple(names),
        targets=targets,
        notes=(
            "3,163 of 50,000 pictures have no label and are left out, as the data's authors ask",
            'RAM++ speaks of 5,000 pictures; which, is not published. Its split into 492 "common" and 508 "uncommon" '
            "classes is not, either, so all 1,000 are one column here",
            "two names stand for two classes each (missile, sunglasses)",
        ),
    ).select(rows)


ENTRY = BenchmarkEntry(
    "imagenet-multi",
    "ImageNet-Multi",
    "tagging",
    46_837,
    1000,
    ((*_LINES, "real.json"), _NAMES),
    "annotation files of the official code, or real.json of google-research/reassessed-imagenet; pictures of "
    "ILSVRC2012 val",
    _open,
)
