"""Measure a model on scenes and on single things: ``python benchmarks/two_worlds.py --data DIR``.

Scenes are COCO's, with 18 human-labeled categories. Single things are class-labeled photographs (``world/``): the class
is known to be present, and the other classes of its collection are known to be absent.

``--split choose`` uses COCO's shard 19 and the pictures of ``world`` whose id has remainder 1 when divided by 8, on
which variants may be compared. ``--split report`` uses ``coco_report`` and the ids with remainder 0, on which nothing
was ever chosen; every shipped version is scored there once. All figures have 95 % bootstrap intervals over pictures.
Writes ``benchmarks/results/two_worlds.json``.
"""

from __future__ import annotations

import argparse
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from _common import add_data_argument, add_model_arguments, machine, table, target, write_targets
from _splits import SPLITS, coco_samples, world_samples
from _tag_quality import CATEGORIES
from numpy.typing import NDArray

from anytag.datasets.samples import Sample
from anytag.evaluation.bootstrap import bootstrap, bootstrap_map
from anytag.evaluation.caption_tags import CategoryParser
from anytag.evaluation.figures import calibration_error
from anytag.evaluation.ranking import average_precisions
from anytag.inference.label_set import LabelSet
from anytag.inference.questions import Questions
from anytag.inference.recognizer import Recognizer, load
from anytag.model.vocabulary import TagVocabulary

#: COCO animals, which are false positives in pictures of another animal or of none.
COCO_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")

#: Other names of the categories in captions.
SYNONYMS = {"person": ("man", "woman", "boy", "girl", "child", "people"), "airplane": ("plane",), "bicycle": ("bike",)}

_BATCH = 8
_ROUNDS = 1000


@dataclass(frozen=True)
class Scored:
    """Pictures with the scores of labels, by default of the whole vocabulary.

    Attributes:
        samples: Annotations.
        scores: ``[N, T]``.
        found: ``[N, T]``, whether a tag reaches its threshold.
        captions: Captions without requested tags, ``None`` if not requested.
    """

    samples: list[Sample]
    scores: NDArray[np.float32]
    found: NDArray[np.bool_]
    captions: list[str] | None


def score(
    recognizer: Recognizer, samples: Iterable[Sample], captions: bool = False, labels: LabelSet | None = None
) -> Scored:
    """Run a model over samples as a user would; ``labels`` replaces the whole vocabulary."""
    kept: dict[str, Sample] = {}

    def pictures() -> Iterator[tuple[str, bytes]]:
        for sample in samples:
            kept[sample.source] = sample
            yield sample.source, sample.picture_bytes()

    labels = recognizer.labels.all() if labels is None else labels
    rows, read, texts = [], [], []
    ask = Questions(recognizer.directory, recognizer.backend).caption() if captions else None
    for batch in recognizer.directory.config.image_encoder.preprocessing.batches(pictures(), _BATCH):
        encoded = recognizer.backend.encode(batch.pixels)
        rows.append(recognizer.scorer.scores(encoded, labels))
        read += batch.paths
        if ask is not None:
            texts += [answer.caption or "" for answer in ask(encoded, batch.paths)]
        print(f"\r{len(read)} pictures", end="", flush=True)
    print()
    scores = np.concatenate(rows)
    return Scored([kept[path] for path in read], scores, scores >= labels.thresholds, texts if captions else None)


def coco_figures(scored: Scored, vocabulary: TagVocabulary, seed: int) -> dict[str, Any]:
    """Average precision, calibration and false mentions over the human-labeled categories."""
    ids = [_id(vocabulary, name) for name in CATEGORIES]
    truth = np.array([[name in sample.labels for name in CATEGORIES] for sample in scored.samples])
    scores, found = scored.scores[:, ids], scored.found[:, ids]
    precisions = average_precisions(scores, truth)
    figures: dict[str, Any] = {
        "pictures": len(truth),
        "map": _figure(float(np.nanmean(precisions)), bootstrap_map(scores, truth, _ROUNDS, seed)),
        "average_precision": dict(zip(CATEGORIES, map(float, precisions), strict=True)),
        "calibration_error": resampled(lambda rows: calibration_error(scores[rows], truth[rows]), len(truth), seed),
        "precision_of_categories_shown": float(truth[found].mean()),
        "tags_a_picture": float(scored.found.sum(1).mean()),
    }
    if scored.captions is not None:
        said = CategoryParser(CATEGORIES, SYNONYMS, vocabulary, "light")(scored.captions)
        false = (said & ~truth).any(1)
        figures["captions_with_an_absent_category"] = _share(false, seed)
        figures["said_categories_absent"] = float((said & ~truth).sum() / max(said.sum(), 1))
    return figures


def class_labels(data: Path) -> dict[int, tuple[str, str]]:
    """Collection and class of every picture of ``world``, by id, which samples do not contain."""
    labels = {}
    for path in sorted(data.glob("world/*.tar")):
        with tarfile.open(path) as shard:
            for member in shard:
                if member.name.endswith(".json") and (file := shard.extractfile(member)):
                    note = json.load(file)
                    labels[int(note["id"])] = (str(note["collection"]), str(note["label"]))
    return labels


def world_figures(
    scored: Scored,
    vocabulary: TagVocabulary,
    labels: dict[int, tuple[str, str]],
    collections: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """How often the class and absent COCO animals are tagged, and calibration over known labels."""
    groups, names = zip(*(labels[int(sample.id)] for sample in scored.samples), strict=True)
    known = {name: vocabulary.find(name) for group in collections.values() for name in group["classes"]}
    above = {name: vocabulary.with_implied([tag.id]) if tag else set() for name, tag in known.items()}
    named = np.array(
        [(tag := known[name]) is not None and bool(scored.found[row, tag.id]) for row, name in enumerate(names)]
    )
    animals = [vocabulary.find(name) for name in COCO_ANIMALS]
    false = np.zeros(len(names), np.bool_)
    values, truths = [], []
    for row, (name, group) in enumerate(zip(names, groups, strict=True)):
        here = known[name]
        for tag in animals:
            if tag is None or tag.id in above[name] or (here and here.id in vocabulary.with_implied([tag.id])):
                continue
            false[row] |= bool(scored.found[row, tag.id])
        if here is None:
            continue
        absent = {
            other.id
            for word in collections[group]["classes"]
            if (other := known[word]) and other.id not in above[name] and here.id not in above[word]
        }
        ids = [*above[name], *absent]
        values.append(scored.scores[row, ids])
        truths.append(np.arange(len(ids)) < len(above[name]))
    return {
        "pictures": len(names),
        "class_among_tags": _share(named, seed),
        "classes_without_a_tag": sorted(name for name, tag in known.items() if tag is None),
        "absent_coco_animal_tagged": _share(false, seed),
        "calibration_error": resampled(
            lambda rows: calibration_error(
                np.concatenate([values[row] for row in rows]), np.concatenate([truths[row] for row in rows])
            ),
            len(values),
            seed,
            rounds=200,
        ),
        "tags_a_picture": float(scored.found.sum(1).mean()),
    }


def _id(vocabulary: TagVocabulary, name: str) -> int:
    tag = vocabulary.find(name)
    if tag is None:
        raise SystemExit(f"the vocabulary has no tag {name!r}")
    return tag.id


def _figure(value: float, interval: Sequence[float]) -> dict[str, Any]:
    return {"value": value, "interval": [float(edge) for edge in interval]}


def _share(hits: NDArray[np.bool_], seed: int) -> dict[str, Any]:
    return resampled(lambda rows: float(hits[rows].mean()), len(hits), seed)


def resampled(measure: Any, pictures: int, seed: int, rounds: int = _ROUNDS) -> dict[str, Any]:
    """A figure with its 95 % bootstrap interval over pictures."""
    return _figure(float(measure(np.arange(pictures))), bootstrap(measure, pictures, rounds, seed))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(arguments)
    add_model_arguments(arguments, "two_worlds.json")
    arguments.add_argument("--split", choices=sorted(SPLITS), default="choose")
    arguments.add_argument("--captions", action="store_true", help="caption the COCO pictures, too")
    arguments.add_argument("--limit", type=int, help="only this many pictures of each set, for a quick run")
    arguments.add_argument("--threads", type=int, help="threads of the runtime (default: all processors)")
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    described = machine()
    recognizer = load(options.model, threads=options.threads)
    collections = json.loads(Path(options.data, "world", "collections.json").read_text(encoding="utf-8"))
    vocabulary = recognizer.vocabulary
    coco, world = (pick(options.data, options.split) for pick in (coco_samples, world_samples))
    familiar = coco_figures(score(recognizer, islice(coco, options.limit), options.captions), vocabulary, options.seed)
    things = score(recognizer, islice(world, options.limit), False)
    single = world_figures(things, vocabulary, class_labels(options.data), collections, options.seed)
    rows = [
        [world, name, figure["value"], *figure["interval"]]
        for world, figures in (("COCO", familiar), ("single things", single))
        for name, figure in figures.items()
        if isinstance(figure, dict) and "interval" in figure
    ]
    table(f"Both worlds, {options.split}", ["pictures", "figure", "value", "from", "to"], rows)
    targets = [
        target("mAP, 18 categories", familiar["map"]["value"], 0.73, True),
        target("calibration error, COCO", familiar["calibration_error"]["value"], 0.06, False),
        target("class among the tags", single["class_among_tags"]["value"], 0.75, True),
        target("absent COCO animal tagged", single["absent_coco_animal_tagged"]["value"], 0.06, False),
        target("calibration error, single things", single["calibration_error"]["value"], 0.06, False),
    ]
    if "captions_with_an_absent_category" in familiar:
        share = familiar["captions_with_an_absent_category"]["value"]
        targets.append(target("captions with an absent category", share, 0.04, False))
    record = {
        "machine": described,
        "split": options.split,
        "limit": options.limit,
        "tags": len(vocabulary),
        "files": recognizer.directory.config.files,
        "coco": familiar,
        "world": single,
    }
    write_targets(options.out, targets, record)


if __name__ == "__main__":
    main()
