"""COCO annotation files: captions, and instances with categories and boxes."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anytag.datasets.json_records import read_object
from anytag.datasets.offsets import Offsets, Records, index_objects, read_spans
from anytag.datasets.samples import Box, Sample, TagName
from anytag.datasets.sources import FileSource
from anytag.errors import SampleError, UsageError
from anytag.foundations.wording import counted


@dataclass(frozen=True, slots=True)
class _Grouped:
    """Annotations in the order of their pictures.

    Attributes:
        first: ``[images + 1]``, the index of each picture's first annotation.
        values: Columns of the annotations.
    """

    first: Offsets
    values: tuple[npt.NDArray[Any], ...]

    def of(self, image: int) -> tuple[npt.NDArray[Any], ...]:
        """Return the columns of one picture's annotations."""
        return tuple(value[self.first[image] : self.first[image + 1]] for value in self.values)


class CocoSource(FileSource):
    """Pictures with COCO annotations: captions, categories and boxes.

    Categories become tags of kind ``object``. A crowd (``iscrowd``) gives its tag, but no box. Each file is read once;
    some fifty bytes per annotation stay in memory.

    Args:
        annotations: One or several files, such as ``captions_val2017.json`` and ``instances_val2017.json``.
        images: The folder of ``file_name``; ``None``: one named like the file's split (``val2017``) or ``images``,
            beside the file or its folder.

    Raises:
        UsageError: If a file cannot be read, or the pictures' folder is not found.
    """

    def __init__(self, annotations: str | Path | Sequence[str | Path], *, images: str | Path | None = None):
        given = [annotations] if isinstance(annotations, str | Path) else annotations
        self.paths = [Path(path) for path in given]
        if not self.paths:
            raise UsageError("no COCO file was given")
        files = [_Sections.open(path) for path in self.paths]
        self._images = [file.images for file in files]
        ids, self._file, self._row = _unique_images([_image_ids(file.images) for file in files])
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]
        self.categories = sorted({name for file in files for name in file.categories.values()})
        self._orphans = 0
        self._captions = self._read_captions(files)
        self._objects = self._read_objects(files)
        self._annotations = [file.annotations for file in files]
        self.folder = Path(images) if images is not None else _find_images(self.paths[0], self._name(0))
        orphans = f"; left out: {counted(self._orphans, 'annotation')} of pictures that are not listed"
        self.description = (
            f"COCO {' and '.join(map(str, self.paths))}: {counted(len(self), 'picture')} in {self.folder}, "
            f"{counted(len(self._captions.values[0]), 'caption')}, "
            f"{counted(len(self._objects.values[0]), 'object')} of "
            f"{counted(len(self.categories), 'category')}{orphans if self._orphans else ''}"
        )
        self.identity = f"coco {' '.join(path.name for path in self.paths)}: {len(self)}"

    def content_files(self) -> Iterable[Path]:
        return self.paths

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, index: int) -> Sample:
        self._check(index)
        file = int(self._file[index])
        image = read_object(self._images[file], int(self._row[index]))
        source = f"{self.paths[file].name}:image {image.get('id')}"
        try:
            tags, boxes = self._tags(index, image)
            return Sample(
                id=str(image.get("id")),
                picture=self.folder / _file_name(image),
                captions=self._sentences(index),
                tags=tags,
                boxes=boxes,
                source=source,
            )
        except SampleError as error:
            raise error.at(source) from error

    def _sentences(self, index: int) -> tuple[str, ...]:
        found = []
        for file, row in zip(*self._captions.of(index), strict=True):
            caption = read_object(self._annotations[file], int(row)).get("caption")
            if not isinstance(caption, str):
                raise SampleError("captions", f"a caption is text, not {caption!r:.80}")
            found.append(caption.strip())
        return tuple(caption for caption in found if caption)

    def _tags(self, index: int, image: Mapping[str, Any]) -> tuple[tuple[TagName, ...], tuple[Box, ...]]:
        categories, corners, crowds = self._objects.of(index)
        names = [self.categories[category] for category in categories]
        boxes = []
        wanted = [(name, box) for name, box, crowd in zip(names, corners, crowds, strict=True) if not crowd]
        if any(np.isfinite(box).all() for _, box in wanted):
            width, height = image.get("width"), image.get("height")
            if not isinstance(width, int | float) or not isinstance(height, int | float) or min(width, height) <= 0:
                raise SampleError("boxes", "the picture's width and height are needed for its boxes, and are not given")
            for name, (x, y, w, h) in wanted:
                x0, x1 = (min(max(float(side) / width, 0.0), 1.0) for side in (x, x + w))
                y0, y1 = (min(max(float(side) / height, 0.0), 1.0) for side in (y, y + h))
                # Some of COCO's boxes have no area; their tags still count.
                if x0 < x1 and y0 < y1:
                    boxes.append(Box(x0, y0, x1, y1, name))
        return tuple(TagName(name, "object") for name in dict.fromkeys(names)), tuple(boxes)

    def _name(self, index: int) -> str:
        return _file_name(read_object(self._images[int(self._file[index])], int(self._row[index])))

    def _read_captions(self, files: Sequence[_Sections]) -> _Grouped:
        images, numbers, rows = array("q"), array("i"), array("q")
        for number, file in enumerate(files):
            for row, annotation in enumerate(_objects(file.annotations) if not file.categories else ()):
                images.append(_whole(annotation.get("image_id"), file.annotations, row))
                numbers.append(number)
                rows.append(row)
        return self._group(np.array(images), np.array(numbers), np.array(rows))

    def _read_objects(self, files: Sequence[_Sections]) -> _Grouped:
        images, categories, corners, crowds = array("q"), array("i"), array("f"), array("b")
        class_ids = {name: number for number, name in enumerate(self.categories)}
        for file in files:
            for row, annotation in enumerate(_objects(file.annotations) if file.categories else ()):
                name = file.categories.get(annotation.get("category_id"))
                if name is None:
                    raise UsageError(
                        f"{file.path}: annotation {row + 1} has category {annotation.get('category_id')!r}, "
                        "which the file does not list"
                    )
                images.append(_whole(annotation.get("image_id"), file.annotations, row))
                categories.append(class_ids[name])
                box = annotation.get("bbox")
                corners.extend(box if isinstance(box, list) and len(box) == 4 else [float("nan")] * 4)
                crowds.append(bool(annotation.get("iscrowd")))
        return self._group(
            np.array(images), np.array(categories), np.array(corners, np.float32).reshape(-1, 4), np.array(crowds)
        )

    def _group(self, images: Offsets, *values: npt.NDArray[Any]) -> _Grouped:
        images = images.astype(np.int64)
        places = np.minimum(np.searchsorted(self._sorted, images), len(self._sorted) - 1)
        known = self._sorted[places] == images
        self._orphans += int(len(images) - known.sum())
        numbers = self._order[places[known]]
        order = np.argsort(numbers, kind="stable")
        first = np.searchsorted(numbers[order], np.arange(len(self) + 1))
        return _Grouped(first, tuple(value[known][order] for value in values))


@dataclass(frozen=True, slots=True)
class _Sections:
    """The sections of an annotation file."""

    path: Path
    images: Records
    annotations: Records
    categories: dict[Any, str]

    @classmethod
    def open(cls, path: Path) -> _Sections:
        found = index_objects(path)
        if "images" not in found or "annotations" not in found:
            raise UsageError(f"{path}: not a COCO file, which has lists called 'images' and 'annotations'")
        categories = {}
        for category in _objects(found["categories"]) if "categories" in found else ():
            categories[category.get("id")] = str(category.get("name"))
        return cls(path, found["images"], found["annotations"], categories)


def _image_ids(images: Records) -> Offsets:
    if not len(images):
        raise UsageError(f"{images.path}: the file lists no pictures")
    return np.array(array("q", (_whole(image.get("id"), images, row) for row, image in enumerate(_objects(images)))))


def _objects(records: Records) -> Iterator[dict[str, Any]]:
    for row, content in enumerate(read_spans(records)):
        try:
            yield json.loads(content)
        except ValueError as error:
            raise UsageError(f"{records.path}: entry {row + 1} is damaged ({error})") from error


def _whole(value: object, records: Records, row: int) -> int:
    if not isinstance(value, int):
        raise UsageError(f"{records.path}: entry {row + 1} has {value!r:.40} for a picture's id, not a whole number")
    return value


def _unique_images(lists: Sequence[Offsets]) -> tuple[Offsets, npt.NDArray[np.int32], Offsets]:
    """Return the ids of all files' pictures, each once, with the file and row that describe them."""
    ids = np.concatenate(lists)
    files = np.concatenate([np.full(len(found), number, np.int32) for number, found in enumerate(lists)])
    rows = np.concatenate([np.arange(len(found)) for found in lists])
    kept = np.sort(np.unique(ids, return_index=True)[1])
    return ids[kept], files[kept], rows[kept]


def _file_name(image: Mapping[str, Any]) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise SampleError("picture", f"'file_name' holds {name!r:.80}, not a name")
    return name


def _find_images(path: Path, name: str) -> Path:
    split = path.stem.rpartition("_")[2]
    around = (path.parent, path.parent.parent)
    inside = (split, "images", f"images/{split}", "")
    folders = list(dict.fromkeys(folder / part for folder in around for part in inside))
    found = next((folder for folder in folders if (folder / name).is_file()), None)
    if found is None:
        raise UsageError(
            f"{path}: {name} is in none of {', '.join(map(str, folders))}; put the pictures there, or "
            "name their folder: --pictures of anytag evaluate, images= in a recipe or in Python"
        )
    return found
