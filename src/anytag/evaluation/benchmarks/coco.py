"""COCO-80 (instances) and COCO-133 (panoptic) on val2017.

RAM table 1; class names of cocodataset/panopticapi, put in words and given synonyms in ``names/coco.tsv``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anytag.evaluation.benchmarks.benchmark import (
    Annotations,
    BenchmarkEntry,
    BenchmarkError,
    names_of,
    need_file,
    read_json,
    read_table,
    tagging_entry,
    target_matrix,
)

_PICTURES = "pictures of val2017 (images.cocodataset.org/zips/val2017.zip)"


def sections(path: Path, *wanted: str) -> dict[str, Any]:
    """Read a COCO file.

    Raises:
        BenchmarkError: If a section is missing.
    """
    record = read_json(path)
    for name in wanted:
        if not isinstance(record, dict) or not isinstance(record.get(name), list):
            raise BenchmarkError(f"{path}: there is no list called {name!r}; is this the right COCO file?")
    return dict(record)


def _category_ids(annotation: dict[str, Any], panoptic: bool) -> list[Any]:
    if panoptic:
        return [segment.get("category_id") for segment in annotation.get("segments_info", ())]
    return [annotation.get("category_id")]


def _open(key: str, title: str, files: tuple[str, ...], panoptic: bool) -> BenchmarkEntry:
    table = [row for row in read_table("coco.tsv") if panoptic or row["thing"] == "1"]

    def read(folder: Path) -> Annotations:
        path = need_file(folder, *files)
        record = sections(path, "images", "annotations")
        place = {int(row["id"]): number for number, row in enumerate(table)}
        try:
            pictures = {int(image["id"]): str(image["file_name"]) for image in record["images"]}
        except (KeyError, TypeError, ValueError) as error:
            raise BenchmarkError(f"{path}: an image has no id or no file_name ({error})") from None
        row_of = {id: row for row, id in enumerate(pictures)}
        rows: list[list[int]] = [[] for _ in pictures]
        for annotation in record["annotations"]:
            row = row_of.get(annotation.get("image_id"))
            if row is None:
                raise BenchmarkError(f"{path}: an annotation is of picture {annotation.get('image_id')}, not listed")
            for id in _category_ids(annotation, panoptic):
                if id not in place:
                    raise BenchmarkError(f"{path}: category {id!r} is none of the {len(table)} of {title}")
                rows[row].append(place[id])
        return Annotations(
            path,
            tuple(name.rpartition(".")[0] + ".jpg" for name in pictures.values()),
            tuple(row["name"] for row in table),
            target_matrix(path, rows, len(rows), len(table)),
            texts=tuple(row["plain"] for row in table),
            synonyms={row["plain"]: names_of(row["synonyms"]) for row in table},
            kinds={row["plain"]: "thing" if row["thing"] == "1" else "stuff" for row in table},
            notes=("pictures without any category stay: everything is absent there",),
        )

    needs = f"{files[0].rpartition('/')[2]} (images.cocodataset.org/annotations); {_PICTURES}"
    return tagging_entry(key, title, 5_000, len(table), (files,), needs, read)


COCO_80 = _open("coco-80", "COCO-80", ("instances_val2017.json", "annotations/instances_val2017.json"), False)
COCO_133 = _open("coco-133", "COCO-133", ("panoptic_val2017.json", "annotations/panoptic_val2017.json"), True)
