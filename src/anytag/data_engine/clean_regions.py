"""Cleaning, part one: find the regions of tags, their features, and the model's scores on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from anytag.backends.base import Encoded, FloatArray
from anytag.data_engine.cleaning_config import CleaningConfig
from anytag.data_engine.manifest import PictureRecord
from anytag.data_engine.models import ModelSpec, PicturesStep, loaded, model_name
from anytag.data_engine.regions import BoxSides, HeatRegions, Region, RegionSource, attention_heat, cell_heat, grid_side
from anytag.data_engine.work import Outcome
from anytag.errors import PictureError
from anytag.foundations.look_ahead import run_ahead
from anytag.inference.label_set import LabelSet
from anytag.inference.recognizer import Recognizer
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

#: Threads that decode pictures while the model runs.
_DECODERS = 2


@cache
def region_source(model: ModelSpec, config: CleaningConfig) -> RegionSource:
    """Load the region finder, once per process.

    Raises:
        UsageError: If a detector is needed and not configured.
    """
    recognizer = loaded(model)
    if config.regions in ("cells", "attention"):
        heat = cell_heat if config.regions == "cells" else attention_heat
        return HeatRegions(partial(heat, recognizer), config.region_share)
    from anytag.data_engine.grounding_dino import GroundingDinoRegions, check_detector

    return GroundingDinoRegions(check_detector(config.detector), config.box_threshold)


def crop_sides(box: BoxSides, margin: float, smallest: float) -> BoxSides:
    """Enlarge a box by a margin on every side and to a minimum size, and shift it into the picture.

    Args:
        box: Left, upper, right, lower; as shares of the picture.
        margin: As a share of the box's width and height.
        smallest: Minimum width and height, as shares of the picture's.
    """

    def along(start: float, end: float) -> tuple[float, float]:
        size = min(1.0, max((end - start) * (1 + 2 * margin), smallest))
        first = min(max((start + end - size) / 2, 0.0), 1.0 - size)
        return first, first + size

    (left, right), (upper, lower) = along(box[0], box[2]), along(box[1], box[3])
    return left, upper, right, lower


@dataclass
class _Found:
    """The regions in a part, in the order in which they were found."""

    tags: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    features: list[FloatArray] = field(default_factory=list)
    boxes: list[BoxSides] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    missing: list[tuple[int, int]] = field(default_factory=list)

    def save(self, path: Path, width: int) -> None:
        """Write all regions, sorted by tag and then picture."""
        from safetensors.numpy import save_file

        order = np.lexsort((self.rows, self.tags))
        missing = np.array(sorted(self.missing), np.int64).reshape(-1, 2)
        features = np.array(self.features, np.float16).reshape(-1, width)
        columns: dict[str, npt.NDArray[Any]] = {
            "tags": np.array(self.tags, np.int32),
            "rows": np.array(self.rows, np.int64),
            "features": features,
            "boxes": np.array(self.boxes, np.float32).reshape(-1, 4),
            "scores": np.array(self.scores, np.float32),
            "limits": np.array(self.limits, np.float32),
        }
        sorted_columns = {name: np.ascontiguousarray(column[order]) for name, column in columns.items()}
        save_file(sorted_columns | {"missing": missing}, path)


@dataclass(frozen=True)
class RegionsStep(PicturesStep):
    """Find a region for each tag of each picture: ``regions-00000.safetensors``, with rows sorted by tag.

    It contains each region's ``tags`` and ``rows``, ``features`` ``[n, W]`` and ``boxes`` ``[n, 4]``; ``scores``, the
    model's score of the tag on the crop (NaN if it was not asked), and ``limits``, the tag's threshold; and ``missing``
    ``[m, 2]``, tags and rows without a region.
    """

    name: ClassVar[str] = "find regions"
    noun: ClassVar[str] = "regions"
    suffix: ClassVar[str] = "safetensors"

    config: CleaningConfig

    def settings(self) -> dict[str, Any]:
        return {"model": model_name(self.model), "regions": self.config.of_regions()}

    def run(self, unit: int, output: Path) -> Outcome:
        recognizer, outcome, found = loaded(self.model), Outcome(), _Found()
        judge = _Judge(recognizer, region_source(self.model, self.config), self.config)
        known = _known_tags(self.manifest.vocabulary, recognizer.vocabulary)
        preprocessing = recognizer.directory.config.image_encoder.preprocessing
        pictures = (
            ((record, tags), partial(preprocessing.read, sample.picture, sample.place, draft=False))
            for record, sample in self.pictures(unit, outcome)
            if (tags := self._judged(record, known, outcome))
        )
        size = recognizer.batch_size
        read = _decoded(run_ahead(pictures, _DECODERS, 2 * size), outcome)
        while batch := list(islice(read, size)):
            judge(batch, [[known[id] for id in tags] for _, tags, _ in batch], found)
        outcome.counts.update({"regions": len(found.tags), "regions_missing": len(found.missing)})
        outcome.examples = [
            {"row": row, "tag": self.manifest.vocabulary[tag].name, "box": [round(side, 3) for side in box]}
            for tag, row, box in list(zip(found.tags, found.rows, found.boxes, strict=True))[:3]
        ]
        found.save(output, recognizer.directory.config.features)
        return outcome

    def _judged(self, record: PictureRecord, known: dict[int, VocabularyTag], outcome: Outcome) -> list[int]:
        """Return the ids of a picture's tags to judge, ascending."""
        config = self.config
        protected = {tag.id for tag in record.tags if tag.source in config.protected}
        wanted = {
            tag.id
            for tag in record.tags
            if tag.kind in config.kinds and tag.id not in protected and (config.tags is None or tag.name in config.tags)
        }
        judged = sorted(id for id in wanted if id in known)
        outcome.counts.update(
            {
                "tags_judged": len(judged),
                "tags_unknown_to_the_model": len(wanted) - len(judged),
                "tags_not_judged": len(record.tag_ids() - wanted),
            }
        )
        return judged


def _decoded(
    jobs: Iterator[tuple[tuple[PictureRecord, list[int]], Callable[[], Image.Image]]], outcome: Outcome
) -> Iterator[tuple[PictureRecord, list[int], Image.Image]]:
    """Yield decoded pictures, and count those that cannot be decoded as failed."""
    for (record, tags), load in jobs:
        try:
            yield record, tags, load()
        except PictureError as error:
            outcome.fail(error)


class _Judge:
    """Finds the regions in a batch of pictures, their features, and the model's scores on their crops."""

    def __init__(self, recognizer: Recognizer, regions: RegionSource, config: CleaningConfig):
        self.recognizer, self.regions, self.config = recognizer, regions, config
        self._labels: dict[int, LabelSet] = {}

    def __call__(
        self,
        pictures: Sequence[tuple[PictureRecord, list[int], Image.Image]],
        tags: Sequence[Sequence[VocabularyTag]],
        found: _Found,
    ) -> None:
        whole = self._encode([picture for _, _, picture in pictures])
        for place, (record, ids, picture) in enumerate(pictures):
            features = whole.features[place]
            regions = self.regions.find(picture, features, tags[place])
            located = [(i, tag, at) for i, tag, at in zip(ids, tags[place], regions, strict=True) if at is not None]
            found.missing += [(i, record.row) for i, at in zip(ids, regions, strict=True) if at is None]
            crops = self._crops(picture, [region for _, _, region in located])
            for number, (id, tag, region) in enumerate(located):
                found.tags.append(id)
                found.rows.append(record.row)
                found.boxes.append(region.box)
                if crops is not None and self.config.feature == "crop":
                    found.features.append(crops.features[number, 0])
                else:
                    found.features.append(self._pooled(features, region))
                score, limit = self._score(crops, number, tag)
                found.scores.append(score)
                found.limits.append(limit)

    def _crops(self, picture: Image.Image, regions: Sequence[Region]) -> Encoded | None:
        config = self.config
        if not regions or not (config.denial or config.feature == "crop"):
            return None
        width, height = picture.size
        crops = []
        for region in regions:
            left, upper, right, lower = crop_sides(region.box, config.crop_margin, config.smallest_crop)
            box = (int(left * width), int(upper * height), round(right * width), round(lower * height))
            crops.append(picture.crop((box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1))))
        return self._encode(crops)

    def _encode(self, pictures: Sequence[Image.Image]) -> Encoded:
        preprocessing = self.recognizer.directory.config.image_encoder.preprocessing
        return self.recognizer.backend.encode(np.stack([preprocessing.pixels(picture) for picture in pictures]))

    @staticmethod
    def _pooled(features: FloatArray, region: Region) -> FloatArray:
        weights = region.weights.reshape(-1)
        assert grid_side(features) ** 2 == len(weights), "regions must use the grid of the features"
        pooled: FloatArray = (weights @ features[1:].astype(np.float64)).astype(np.float32)
        return pooled

    def _score(self, crops: Encoded | None, number: int, tag: VocabularyTag) -> tuple[float, float]:
        label = self._label(tag)
        limit = float(label.thresholds[0])
        if crops is None or not self.config.denial:
            return float("nan"), limit
        one = Encoded(crops.features[number : number + 1], crops.classes[number : number + 1])
        return float(self.recognizer.scorer.scores(one, label)[0, 0]), limit

    def _label(self, tag: VocabularyTag) -> LabelSet:
        if tag.id not in self._labels:
            self._labels[tag.id] = self.recognizer.labels.of([tag])
        return self._labels[tag.id]


def _known_tags(vocabulary: TagVocabulary, of_model: TagVocabulary) -> dict[int, VocabularyTag]:
    """Return the model's tag for each of the manifest's tags that the model knows."""
    pairs: Iterator[tuple[int, VocabularyTag | None]] = (
        (tag.id, of_model.find(tag.name, tag.kind)) for tag in vocabulary
    )
    return {id: tag for id, tag in pairs if tag is not None}
