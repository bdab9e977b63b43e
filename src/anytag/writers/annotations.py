"""The files of other tools: COCO, Label Studio and FiftyOne."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytag.foundations.atomic_files import whole_file
from anytag.foundations.json_lines import writable
from anytag.writers.records import PictureRecord
from anytag.writers.tables import shown


@dataclass(frozen=True)
class CocoAnnotations:
    """COCO's JSON: images, one category a tag, and an annotation for every tag and caption.

    Tags name whole pictures: the box of an annotation is the picture, and ``score`` tells how sure it is, as in COCO's
    results. Of pictures that an earlier version recognized, the size is not known and stands as 0.
    """

    name: str = "coco"
    filename: str = "coco.json"

    def write(self, records: Iterable[PictureRecord], target: Path) -> None:
        """See :class:`~anytag.writers.tables.TableWriter`."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        categories: dict[tuple[str, str], int] = {}
        for number, record in enumerate(records, 1):
            width, height = record.recognition.size or (0, 0)
            images.append({"id": number, "file_name": shown(record.path), "width": width, "height": height})
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
            if record.recognition.caption is not None:
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": number, "caption": record.recognition.caption}
                )
        whole = {
            "info": {"description": "written by anytag batch"},
            "images": images,
            "categories": [{"id": id, "name": name, "supercategory": kind} for (name, kind), id in categories.items()],
            "annotations": annotations,
        }
        with whole_file(target) as part:
            part.write_text(writable(json.dumps(whole, ensure_ascii=False)) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class LabelStudioTasks:
    """Tasks with predictions for Label Studio: import the file, and correct what the model said.

    The labeling configuration needs ``<Choices name="tags" toName="image" choice="multiple">``, and
    ``<TextArea name="caption" toName="image">`` where captions were written. Pictures are addressed below Label
    Studio's local storage (``/data/local-files/?d=…``).
    """

    name: str = "label-studio"
    filename: str = "label-studio.json"

    def write(self, records: Iterable[PictureRecord], target: Path) -> None:
        """See :class:`~anytag.writers.tables.TableWriter`."""
        with whole_file(target) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            _write_list(file.write, (label_studio_task(record) for record in records))


def label_studio_task(record: PictureRecord) -> dict[str, Any]:
    """A picture as a task with one prediction, whose score is the mean of its tags'."""
    from urllib.parse import quote

    result: list[dict[str, Any]] = [
        {
            "from_name": "tags",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [tag.name for tag in record.tags]},
        }
    ]
    if record.recognition.caption is not None:
        text = {"text": [record.recognition.caption]}
        result.append({"from_name": "caption", "to_name": "image", "type": "textarea", "value": text})
    scores = [float(tag.score) for tag in record.tags]
    prediction = {
        "model_version": f"{record.provenance.model} {record.provenance.version}",
        "score": round(sum(scores) / len(scores), 4) if scores else 0.0,
        "result": result,
    }
    path = quote(shown(record.path.lstrip("/")))
    return {"data": {"image": f"/data/local-files/?d={path}"}, "predictions": [prediction]}


@dataclass(frozen=True)
class FiftyOneDataset:
    """A folder that FiftyOne imports as image classification, with several labels a picture.

    ``data.json`` says where the pictures are, ``labels.json`` what they show. Load it with
    ``fiftyone.Dataset.from_dir(FOLDER, fiftyone.types.FiftyOneImageClassificationDataset, data_path="data.json")``.
    """

    name: str = "fiftyone"
    filename: str = "fiftyone"

    def write(self, records: Iterable[PictureRecord], target: Path) -> None:
        """See :class:`~anytag.writers.tables.TableWriter`."""
        target.mkdir(exist_ok=True)
        classes: dict[str, None] = {}
        with ExitStack() as stack:
            data, labels = (
                stack.enter_context(
                    stack.enter_context(whole_file(target / name)).open("w", encoding="utf-8", newline="\n")
                )
                for name in ("data.json", "labels.json")
            )
            data.write("{")
            labels.write('{"labels": {')
            for number, record in enumerate(records):
                start = "," * bool(number) + f'\n"{number:08d}": '
                classes |= dict.fromkeys(tag.name for tag in record.tags)
                found = [{"label": tag.name, "confidence": round(float(tag.score), 4)} for tag in record.tags]
                data.write(start + json.dumps(str(Path(shown(record.path)).absolute())))
                labels.write(start + json.dumps(found))
            data.write("\n}\n")
            labels.write('\n}, "classes": ' + json.dumps(sorted(classes)) + "}\n")


def _write_list(write: Callable[[str], object], items: Iterator[dict[str, Any]]) -> None:
    write("[")
    for number, item in enumerate(items):
        write("," * bool(number) + "\n" + writable(json.dumps(item, ensure_ascii=False)))
    write("\n]\n")
