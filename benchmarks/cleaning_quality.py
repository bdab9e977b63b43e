"""Measure what cleaning removes: ``python benchmarks/cleaning_quality.py --data DIR [--pictures 600]``.

COCO pictures get their human-labeled categories as tags, and a tenth as many wrong ones. Cleaning should remove the
wrong ones and keep the right ones. For several settings, this prints the shares of both that are removed as outliers
and as denied. ``DIR`` contains ``coco20k/coco20k-000019.tar``, which none of our models was trained on. Writes
``benchmarks/results/cleaning_quality.json``.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import add_data_argument, add_model_arguments, machine, table, write_result
from _first import First

from anytag.data_engine.cleaning_config import CleaningConfig
from anytag.data_engine.executors import LocalExecutor
from anytag.data_engine.manifest import Manifest, ManifestTag, PictureRecord, write_part
from anytag.data_engine.models import ModelSpec
from anytag.data_engine.pipeline import Engine
from anytag.datasets.samples import Sample
from anytag.datasets.sources import IndexedSource
from anytag.datasets.webdataset import open_shards
from anytag.model.vocabulary import TagVocabulary

#: Wrong tags for each right one; also the share of a tag's regions that are outliers by default.
WRONG = 0.1

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one cluster": {"clusters": 1},
    "four clusters of ten": {"regions_per_cluster": 10},
    "features of crops": {"feature": "crop"},
    "attention, half of the warmest": {"region_share": 0.5},
    "cells": {"regions": "cells"},
    "margin of a tenth": {"crop_margin": 0.1, "smallest_crop": 0.2},
    "denied below half the threshold": {"denial_factor": 0.5},
    "denied below the threshold": {"denial_factor": 1.0},
}


def label(samples: Sequence[Sample], vocabulary: TagVocabulary) -> list[dict[int, bool]]:
    """Tags of every picture, and whether each is right."""
    tags: list[dict[int, bool]] = [{} for _ in samples]
    rng = random.Random(0)
    for name in sorted({name for sample in samples for name in sample.labels}):
        tag = vocabulary.find(name)
        if tag is None:
            continue
        shown = [number for number, sample in enumerate(samples) if name in sample.labels]
        others = [number for number, sample in enumerate(samples) if name not in sample.labels]
        for number in shown:
            tags[number][tag.id] = True
        for number in rng.sample(others, min(len(others), round(WRONG * len(shown)))):
            tags[number].setdefault(tag.id, False)
    return tags


def write_manifest(folder: Path, source: First, tags: Sequence[dict[int, bool]], vocabulary: TagVocabulary) -> None:
    folder.mkdir(parents=True)
    vocabulary.save(folder / "vocabulary.json")
    manifest = Manifest(folder, source.identity, source.parts)
    for part in range(source.parts):
        records = [
            PictureRecord(
                source[index].id,
                source[index].place,
                row,
                tags=tuple(
                    ManifestTag(id, vocabulary[id].name, vocabulary[id].kind, "parsed") for id in sorted(tags[index])
                ),
            )
            for row, index in enumerate(source.rows(part))
        ]
        write_part(manifest.part(part), records)
    manifest.save()


def removed(folder: Path, tags: Sequence[dict[int, bool]], source: First) -> Counter[tuple[bool, str]]:
    """Numbers of removed right and wrong tags, by reason."""
    manifest, found = Manifest.load(folder), Counter[tuple[bool, str]]()
    for part in range(manifest.parts):
        for record in manifest.read(part):
            assert isinstance(record, PictureRecord)
            own = tags[source.rows(part)[record.row]]
            found.update((own[entry.tag.id], entry.reason) for entry in record.removed)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    add_data_argument(arguments)
    add_model_arguments(arguments, "cleaning_quality.json")
    arguments.add_argument("--pictures", type=int, default=600)
    arguments.add_argument("--settings", nargs="*", choices=list(SETTINGS), help="only these settings")
    options = arguments.parse_args()
    shards = open_shards(options.data / "coco20k" / "coco20k-000019.tar")
    assert isinstance(shards, IndexedSource)
    source = First(shards, options.pictures)
    model = ModelSpec(str(options.model) if options.model else None)
    vocabulary = model.directory().vocabulary
    tags = label([source[index] for index in range(len(source))], vocabulary)
    total = Counter(right for own in tags for right in own.values())
    results: dict[str, dict[str, float]] = {}
    for name in options.settings or SETTINGS:
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            write_manifest(work / "parsed", source, tags, vocabulary)
            Engine(work, LocalExecutor()).clean(source, model, CleaningConfig(**SETTINGS[name]))
            gone = removed(work / "cleaned", tags, source)
        results[name] = {
            f"{'right' if right else 'wrong'}_{reason}": gone[right, reason] / total[right]
            for right in (True, False)
            for reason in ("outlier", "denied")
        }
        shares = results[name]
        shares |= {f"{of}_gone": shares[f"{of}_outlier"] + shares[f"{of}_denied"] for of in ("right", "wrong")}
    columns = ("right_outlier", "right_denied", "right_gone", "wrong_outlier", "wrong_denied", "wrong_gone")
    table(
        f"Share of {total[True]} right and {total[False]} wrong tags that go",
        ["settings", *(column.replace("_", " ") for column in columns)],
        [[name, *(shares[column] for column in columns)] for name, shares in results.items()],
    )
    record = {"machine": machine(), "pictures": len(source), "right": total[True], "wrong": total[False]}
    write_result(options.out, record | {"settings": results})


if __name__ == "__main__":
    main()
