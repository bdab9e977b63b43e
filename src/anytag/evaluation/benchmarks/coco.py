"""COCO-80 (instances), COCO-133 (panoptic), both of val2017, and COCO's captions (Karpathy's split).

RAM table 1; class names of cocodataset/panopticapi, put in words and given synonyms in ``names/coco.tsv``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anytag.evaluation.benchmarks.benchmark import (
    Annotations,
    Benchmark,
    BenchmarkEntry,
    BenchmarkError,
    check_count,
    names_of,
    need_file,
    read_json,
    read_table,
    tagging_entry,
    target_matrix,
)
from anytag.evaluation.benchmarks.pictures import PictureFiles

_PICTURES = "pictures of val2017 (images.cocodataset.org/zips/val2017.zip)"


def sections(path: Path, *wanted: str) -> dict[str, Any]:
    """The parts of a COCO file.

    Raises:
        BenchmarkError: If one is missing.
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

_KARPATHY = ("coco_karpathy_test_gt.json", "coco_karpathy_test.json", "dataset_coco.json")


def captions_of(path: Path, split: str = "test") -> tuple[list[str], list[tuple[str, ...]]]:
    """Pictures and their captions from any of the usual files.

    BLIP's ``*_karpathy_test.json`` (``image``, ``caption``), COCO's own form (``images``, ``annotations``), and
    Karpathy's ``dataset_*.json`` (``images`` with ``split`` and ``sentences``).

    Raises:
        BenchmarkError: If the file has none of these forms.
    """
    record = read_json(path)
    try:
        if isinstance(record, list):
            names = [str(entry["image"]) for entry in record]
            texts = [
                tuple(map(str, entry["caption"])) if isinstance(entry["caption"], list) else (str(entry["caption"]),)
                for entry in record
            ]
            return names, texts
        if "annotations" in record:
            lists: dict[Any, list[str]] = {image["id"]: [] for image in record["images"]}
            for annotation in record["annotations"]:
                lists[annotation["image_id"]].append(str(annotation["caption"]))
            files = {image["id"]: str(image.get("file_name", image["id"])) for image in record["images"]}
            return [files[id] for id in lists], [tuple(captions) for captions in lists.values()]
        images = [image for image in record["images"] if image["split"] == split]
        folder = [f"{image['filepath']}/" if image.get("filepath") else "" for image in images]
        names = [prefix + str(image["filename"]) for prefix, image in zip(folder, images, strict=True)]
        return names, [tuple(str(s["raw"]) for s in image["sentences"]) for image in images]
    except (KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(f"{path}: no captions in a known form (missing: {error})") from None


def caption_entry(
    key: str, title: str, task: Any, files: tuple[str, ...], pictures: int, needs: str, split: str = "test"
) -> BenchmarkEntry:
    """A benchmark of captions, for captioning or for retrieval."""

    def open_(folder: Path, images: Path | None) -> Benchmark:
        path = need_file(folder, *files)
        names, captions = captions_of(path, split)
        if bare := next((name for name, texts in zip(names, captions, strict=True) if not texts), None):
            raise BenchmarkError(f"{path}: {bare} has no caption")
        check_count(path, "pictures", len(names), pictures)
        return Benchmark(key, title, task, PictureFiles(images, tuple(names)), captions=tuple(captions))

    return BenchmarkEntry(key, title, task, pictures, 0, (files,), needs, open_)


_WHERE = (
    "storage.googleapis.com/sfr-vision-language-research/datasets, or Karpathy's dataset_coco.json; val2014 pictures"
)
CAPTIONS = caption_entry("coco-captions", "COCO captions (Karpathy test)", "captioning", _KARPATHY, 5_000, _WHERE)
RETRIEVAL = caption_entry("coco-retrieval", "COCO retrieval (5K)", "retrieval", _KARPATHY, 5_000, _WHERE)
