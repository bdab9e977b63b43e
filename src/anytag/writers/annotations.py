"""Files that other tools import: COCO, Label Studio and FiftyOne."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anytag.foundations.atomic_files import whole_file
from anytag.foundations.json_lines import writable
from anytag.writers.records import PictureRecord
from anytag.writers.tables import printable_path


def write_coco(records: Iterable[PictureRecord], target: Path) -> None:
    """Write COCO JSON: images, one category per tag, and an annotation for every tag and caption.

    Tags describe whole pictures: the box of an annotation is the picture, and ``score`` is the tag's, as in COCO's
    results. Pictures recognized by an earlier version have no known size, which is written as 0.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[tuple[str, str], int] = {}
    for number, record in enumerate(records, 1):
        width, height = record.recognition.size or (0, 0)
        images.append({"id": number, "file_name": printable_path(record.path), "width": width, "height": height})
        for tag in record.tags:
            category = categories.setdefault((tag.name, tag.kind), len(categories) + 1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": [0, 0, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "score": round(float(tag.score), 4),
                }
            )
        if (caption := record.recognition.caption) is not None:
            annotations.append({"id": len(annotations) + 1, "image_id": number, "caption": caption})
    whole = {
        "info": {"description": "written by anytag batch"},
        "images": images,
        "categories": [{"id": id, "name": name, "supercategory": kind} for (name, kind), id in categories.items()],
        "annotations": annotations,
    }
    with whole_file(target) as part:
        part.write_text(writable(json.dumps(whole, ensure_ascii=False)) + "\n", encoding="utf-8")


def write_label_studio(records: Iterable[PictureRecord], target: Path) -> None:
    """Write tasks with predictions for Label Studio, to import and correct.

    The labeling configuration needs ``<Choices name="tags" toName="image" choice="multiple">``, and
    ``<TextArea name="caption" toName="image">`` where captions were written. Pictures are addressed below Label
    Studio's local storage (``/data/local-files/?d=…``).
    """
    with whole_file(target) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write("[")
        for number, record in enumerate(records):
            task = json.dumps(_label_studio_task(record), ensure_ascii=False)
            file.write("," * bool(number) + "\n" + writable(task))
        file.write("\n]\n")


def _label_studio_task(record: PictureRecord) -> dict[str, Any]:
    """Return a picture as a task with one prediction; the prediction's score is the mean of the tag scores."""
    choices = {"choices": [tag.name for tag in record.tags]}
    result: list[dict[str, Any]] = [{"from_name": "tags", "to_name": "image", "type": "choices", "value": choices}]
    if record.recognition.caption is not None:
        text = {"text": [record.recognition.caption]}
        result.append({"from_name": "caption", "to_name": "image", "type": "textarea", "value": text})
    scores = [float(tag.score) for tag in record.tags]
    prediction = {
        "model_version": f"{record.provenance.model} {record.provenance.version}",
        "score": round(sum(scores) / len(scores), 4) if scores else 0.0,
        "result": result,
    }
    path = quote(printable_path(record.path.lstrip("/")))
    return {"data": {"image": f"/data/local-files/?d={path}"}, "predictions": [prediction]}


def write_fiftyone(records: Iterable[PictureRecord], target: Path) -> None:
    """Write a folder that FiftyOne imports as image classification with several labels per picture.

    ``data.json`` maps ids to picture files, ``labels.json`` to labels. Load it with
    ``fiftyone.Dataset.from_dir(FOLDER, fiftyone.types.FiftyOneImageClassificationDataset, data_path="data.json")``.
    """
    target.mkdir(exist_ok=True)
    classes: dict[str, None] = {}
    with ExitStack() as stack:
        parts = [stack.enter_context(whole_file(target / name)) for name in ("data.json", "labels.json")]
        data, labels = (stack.enter_context(part.open("w", encoding="utf-8", newline="\n")) for part in parts)
        data.write("{")
        labels.write('{"labels": {')
        for number, record in enumerate(records):
            start = "," * bool(number) + f'\n"{number:08d}": '
            classes |= dict.fromkeys(tag.name for tag in record.tags)
            found = [{"label": tag.name, "confidence": round(float(tag.score), 4)} for tag in record.tags]
            data.write(start + json.dumps(str(Path(printable_path(record.path)).absolute())))
            labels.write(start + json.dumps(found))
        data.write("\n}\n")
        labels.write('\n}, "classes": ' + json.dumps(sorted(classes)) + "}\n")
