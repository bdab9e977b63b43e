"""Figures printed in the papers, in per cent, for comparison with measured ones.

Tag2Text, tables 1, 2 and its figures on NUS-WIDE (arXiv 2303.05657); RAM, tables 2 and 3 (arXiv 2306.03514); RAM++,
tables 2 and 8 (arXiv 2310.15200).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PublishedRow:
    """A row of a table.

    Attributes:
        system: Name in the paper.
        paradigm: How it recognizes.
        pretraining: Number of pre-training pictures, or of training tags.
        sets: F1, precision and recall by benchmark.
        maps: Mean average precision by benchmark.
    """

    system: str
    paradigm: str
    pretraining: str
    sets: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    maps: dict[str, float] = field(default_factory=dict)


def _three(
    oppo: tuple[float, ...], common: tuple[float, ...], coco: tuple[float, ...]
) -> dict[str, tuple[float, float, float]]:
    rows = {"oppo-common": oppo, "openimages-common": common, "coco-80": coco}
    return {key: (row[0], row[1], row[2]) for key, row in rows.items()}


#: Tag2Text, table 2: zero-shot recognition under three paradigms.
RECOGNITION = (
    PublishedRow("CLIP", "alignment", "400M", _three((63.4, 76.6, 54.1), (63.0, 77.9, 52.9), (48.2, 64.0, 38.7))),
    # OpenImages as printed: precision and recall would give an F1 of 70.7.
    PublishedRow("DiHT", "alignment", "438M", _three((66.8, 75.3, 60.0), (66.3, 77.0, 65.3), (48.9, 51.4, 46.7))),
    PublishedRow("BLIP", "alignment", "129M", _three((65.7, 76.7, 57.5), (64.8, 78.6, 55.1), (54.3, 65.2, 46.5))),
    PublishedRow("BLIP", "captioning", "129M", _three((58.6, 79.1, 46.6), (56.6, 73.7, 45.9), (55.7, 93.0, 39.8))),
    PublishedRow("BLIP-2", "captioning", "129M", _three((58.2, 72.8, 48.5), (58.1, 74.2, 47.8), (59.1, 95.5, 42.8))),
    PublishedRow("Tag2Text", "captioning", "14M", _three((65.9, 82.4, 54.9), (62.7, 76.7, 53.0), (62.7, 93.2, 47.2))),
    PublishedRow("Tag2Text", "tagging", "4M", _three((75.7, 76.6, 74.8), (71.8, 79.7, 65.3), (72.6, 80.5, 66.1))),
    PublishedRow("Tag2Text", "tagging", "14M", _three((78.6, 77.9, 79.4), (72.7, 80.1, 66.6), (71.5, 80.1, 64.5))),
)  # fmt: skip

#: Columns of the second table.
_COLUMNS = ("oppo-common", "openimages-common", "openimages-rare", "coco-80", "coco-133", "ade20k", "ade20k-clean")


def _seven(*values: float | None) -> dict[str, float]:
    return {key: value for key, value in zip(_COLUMNS, values, strict=True) if value is not None}


#: RAM, table 2: mean average precision. ML-Decoder is fully supervised on OpenImages.
MULTI_LABEL = (
    # OPPO and COCO-80 without a few categories that it lacks.
    PublishedRow("ML-Decoder", "tagging", "33.9M", maps=_seven(82.4, 85.8, 79.5, 72.8, None, None, None)),
    PublishedRow("MKT", "alignment", "0.6M", maps=_seven(78.2, 77.8, 63.5, 62.9, 51.0, 37.1, 38.4)),
    # COCO without a few categories that they lack.
    PublishedRow("Tag2Text-4M", "tagging", "11.4M", maps=_seven(83.0, 82.9, None, 78.3, 66.9, None, None)),
    PublishedRow("Tag2Text-14M", "tagging", "33.6M", maps=_seven(85.4, 83.4, None, 78.2, 67.1, None, None)),
    PublishedRow("RAM-4M", "tagging", "39.3M", maps=_seven(85.6, 86.0, 66.7, 79.0, 68.3, 51.5, 53.2)),
    PublishedRow("RAM-14M", "tagging", "119.9M", maps=_seven(86.9, 86.5, 69.2, 80.6, 69.4, 55.4, 56.9)),
)

#: Names of official checkpoints, and so of models converted from them: ``ram_plus_swin_large_14m``.
_CHECKPOINT = re.compile(r"(ram_plus|ram|tag2text)_swin(_|$)")

#: Further figures that the papers print for the same benchmarks.
FURTHER = (
    PublishedRow(
        "CLIP", "alignment", "400M", {"nus-wide": (46.0, 54.0, 40.1), "openimages-rare": (55.1, 67.5, 46.5)},
        {"openimages-common": 73.6, "openimages-rare": 66.2, "hico": 26.8},
    ),
    PublishedRow(
        "BLIP", "alignment", "129M", {"nus-wide": (45.0, 54.0, 38.6)},
        {"openimages-common": 75.7, "openimages-rare": 61.1, "hico": 33.5},
    ),
    PublishedRow(
        "BLIP (ITM)", "alignment", "129M", maps={"openimages-common": 71.7, "openimages-rare": 62.9, "hico": 38.0}
    ),
    PublishedRow("DiHT", "alignment", "438M", maps={"openimages-common": 71.3, "openimages-rare": 62.4, "hico": 36.7}),
    PublishedRow("Tag2Text", "tagging", "14M", {"nus-wide": (46.4, 54.7, 40.3)}),
    PublishedRow(
        "RAM++-4M", "tagging", "Swin-B", maps={"openimages-common": 86.5, "openimages-rare": 73.9, "hico": 37.8}
    ),
    PublishedRow(
        "RAM++-14M", "tagging", "Swin-B",
        {"openimages-common": (77.6, 79.9, 75.4), "openimages-rare": (64.8, 56.3, 76.2)},
        {"openimages-common": 86.6, "openimages-rare": 75.4, "hico": 37.7},
    ),
)  # fmt: skip


def published_sets(system: str, paradigm: str, benchmark: str) -> list[tuple[str, tuple[float, float, float]]]:
    """Return the pre-training and the published F1, precision and recall of a system on a benchmark."""
    return [
        (row.pretraining, row.sets[benchmark])
        for row in (*RECOGNITION, *FURTHER)
        if _same(row.system, system) and row.paradigm == paradigm and benchmark in row.sets
    ]


def published_maps(system: str, benchmark: str) -> list[tuple[str, float]]:
    """Return the row's name and the published mean average precision of a system on a benchmark."""
    return [
        (row.system, row.maps[benchmark])
        for row in (*MULTI_LABEL, *FURTHER)
        if _same(row.system, system) and benchmark in row.maps
    ]


def _same(row: str, system: str) -> bool:
    """Whether a row is about this system: RAM-14M is about RAM and "RAM: runs/other", but RAM++ is not."""
    plain = system.partition(": ")[0].lower().removesuffix(" (itc)")
    if official := _CHECKPOINT.match(plain):
        plain = {"ram_plus": "ram++"}.get(official[1], official[1])
    return row.lower().removesuffix("-4m").removesuffix("-14m") == plain.removesuffix("-4m").removesuffix("-14m")
