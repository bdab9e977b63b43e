"""COCO (Karpathy's split), NoCaps and Flickr: captions for captioning and retrieval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anytag.evaluation.benchmarks.benchmark import (
    Benchmark,
    BenchmarkEntry,
    BenchmarkError,
    Task,
    check_count,
    need_file,
    read_json,
)
from anytag.evaluation.benchmarks.pictures import PictureFiles


def _read_captions(path: Path) -> tuple[list[str], list[tuple[str, ...]]]:
    """Read pictures and their captions from a file in any of the usual formats.

    BLIP's ``*_karpathy_test.json`` (``image``, ``caption``), COCO's own format (``images``, ``annotations``), and
    Karpathy's ``dataset_*.json`` (``images`` with ``split`` and ``sentences``).

    Raises:
        BenchmarkError: If the file has none of these formats.
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
        images = [image for image in record["images"] if image["split"] == "test"]
        folder = [f"{image['filepath']}/" if image.get("filepath") else "" for image in images]
        names = [prefix + str(image["filename"]) for prefix, image in zip(folder, images, strict=True)]
        return names, [tuple(str(s["raw"]) for s in image["sentences"]) for image in images]
    except (KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(f"{path}: no captions in a known format (missing: {error})") from None


def _entry(key: str, title: str, task: Task, files: tuple[str, ...], pictures: int, needs: str) -> BenchmarkEntry:

    def open_(folder: Path, images: Path | None) -> Benchmark:
        path = need_file(folder, *files)
        names, captions = _read_captions(path)
        if bare := next((name for name, texts in zip(names, captions, strict=True) if not texts), None):
            raise BenchmarkError(f"{path}: {bare} has no caption")
        check_count(path, "pictures", len(names), pictures)
        return Benchmark(key, title, task, PictureFiles(images, tuple(names)), captions=tuple(captions))

    return BenchmarkEntry(key, title, task, pictures, 0, (files,), needs, open_)


_BLIP = "storage.googleapis.com/sfr-vision-language-research/datasets"

_COCO = ("coco_karpathy_test_gt.json", "coco_karpathy_test.json", "dataset_coco.json")
_COCO_NEEDS = f"{_BLIP}, or Karpathy's dataset_coco.json; val2014 pictures"
COCO = _entry("coco-captions", "COCO captions (Karpathy test)", "captioning", _COCO, 5_000, _COCO_NEEDS)
COCO_RETRIEVAL = _entry("coco-retrieval", "COCO retrieval (5K)", "retrieval", _COCO, 5_000, _COCO_NEEDS)

_FLICKR = ("flickr30k_test.json", "dataset_flickr30k.json")
_FLICKR_NEEDS = f"flickr30k_test.json ({_BLIP}), or Karpathy's dataset_flickr30k.json; Flickr30k's pictures"
FLICKR_30K = _entry("flickr30k-retrieval", "Flickr30k retrieval (1K)", "retrieval", _FLICKR, 1_000, _FLICKR_NEEDS)
FLICKR_30K_CAPTIONS = _entry(
    "flickr30k-captions", "Flickr30k captions (1K)", "captioning", _FLICKR, 1_000, _FLICKR_NEEDS
)
FLICKR_8K = _entry(
    "flickr8k-captions",
    "Flickr8k captions (1K)",
    "captioning",
    ("dataset_flickr8k.json",),
    1_000,
    "Karpathy's dataset_flickr8k.json; Flickr8k's pictures",
)
NOCAPS = _entry(
    "nocaps",
    "NoCaps (validation)",
    "captioning",
    ("nocaps_val_4500_captions.json", "nocaps_val.json"),
    4_500,
    "nocaps_val_4500_captions.json (nocaps.org), which has ten captions a picture; its pictures",
)
