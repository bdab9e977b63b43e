"""Measure `anytag teach` with 200 pictures of four kinds of things, and its effect on other tags.

    python benchmarks/own_tags.py ../shared/data                       # the names are new: "our raccoon"
    python benchmarks/own_tags.py ../shared/data --names known         # the model knows the names: "raccoon"

Teaches 110 raccoons, 30 kangaroos, 30 helicopters and 30 eggplants of `world` (ids that models may be trained on).
Average precision of each tag is measured on the other pictures of its class among 1,000 negatives, shard 19 of COCO.
F1 of the model's other tags on this shard is compared with that before. `--split report` uses the reporting ids as the
other pictures.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import RESULTS, machine, write_result

import anytag
from anytag.backends.base import Encoded
from anytag.datasets.opening import open_source
from anytag.datasets.samples import Sample
from anytag.evaluation.labeled_scores import sample_batches
from anytag.evaluation.ranking import average_precision
from anytag.inference.recognizer import Recognizer
from anytag.language.parsing.parser import load_parser
from anytag.language.tags.tag_ids import TagIds
from anytag.teaching.config import TeachingConfig
from anytag.teaching.teach import teach

#: Number of training pictures per class.
TAUGHT = {"raccoon": 110, "kangaroo": 30, "helicopter": 30, "eggplant": 30}

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--names", choices=["new", "known"], default="new")
    arguments.add_argument("--split", choices=["choose", "report"], default="choose")
    arguments.add_argument(
        "--draws", type=int, default=1, help="Number of random draws of the training pictures, with seeds 0, 1 ..."
    )
    arguments.add_argument("--penalty", type=float, default=TeachingConfig(sources=("",)).penalty)
    arguments.add_argument("--views", type=int, default=TeachingConfig(sources=("",)).views)
    arguments.add_argument("--negatives", type=int, default=1000, help="Number of negatives from shard 19.")
    arguments.add_argument("--threads", type=int)
    given = arguments.parse_args()
    before = anytag.load(threads=given.threads)
    source = open_source(given.data / "coco20k" / "coco20k-000019.tar")
    samples, encoded = encode(before, source, given.negatives)
    strangers = Strangers(samples, encoded, before.scorer.scores(encoded, before.labels.all()))
    draws = []
    for seed in range(given.draws):
        with tempfile.TemporaryDirectory() as folder:
            draws.append(measure(given, seed, Path(folder), before, strangers))
        write(given, draws)  # Save after each draw, because one takes minutes.


def write(given: argparse.Namespace, draws: list[dict[str, Any]]) -> None:
    """The draws so far, and the means of their main figures."""
    means = {
        name: {
            figure: round(float(np.mean([draw[name][figure] for draw in draws])), 4)
            for figure in ("average_precision", "found", "negatives_found")
        }
        for name in TAUGHT
    }
    print("means", means)
    path = RESULTS / f"own_tags_{given.names}_{given.split}.json"
    write_result(path, {"machine": machine(), "views": given.views, "means": means, "draws": draws})


@dataclass(frozen=True)
class Strangers:
    """The negatives, with the scores ``[N, T]`` of the model that nothing was taught."""

    samples: list[Sample]
    encoded: Encoded
    scores: np.ndarray


def measure(
    given: argparse.Namespace, seed: int, folder: Path, before: Recognizer, strangers: Strangers
) -> dict[str, Any]:
    """One random draw of the training pictures."""
    names = {name: name if given.names == "known" else f"our {name}" for name in TAUGHT}
    lay_out(given, seed, folder, names)
    config = TeachingConfig(sources=("photos",), views=given.views, penalty=given.penalty)
    began = time.perf_counter(), time.process_time()
    teach(config, folder, folder / "model", threads=given.threads)
    seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    after = anytag.load(folder / "model", threads=given.threads)
    negatives, known = strangers.samples, strangers.scores
    tested, tested_encoded = encode(before, open_source({"path": str(folder / "rest"), "classes": True}))
    labels, old = after.labels.all(), before.labels.all()
    scores = after.scorer.scores(strangers.encoded, labels)
    rest_scores = after.scorer.scores(tested_encoded, labels)
    count = len(before.vocabulary)
    result: dict[str, Any] = {
        "names": given.names,
        "split": given.split,
        "seed": seed,
        "seconds": [round(second, 1) for second in seconds],
        "negatives": len(negatives),
        "f1_before": round(f1(before, negatives, known >= old.thresholds), 4),
        "f1_after": round(f1(before, negatives, (scores >= labels.thresholds)[:, :count]), 4),
        "scores_moved": float(np.abs(scores[:, :count] - known).max()),
    }
    classes = np.array([next(iter(sample.tags)).name for sample in tested])
    for name, called in names.items():
        tag = after.vocabulary.find(called)
        assert tag is not None
        own = rest_scores[classes == name, tag.id]
        truth = np.arange(len(own) + len(negatives)) < len(own)
        limit = labels.thresholds[tag.id]
        result[name] = {
            "rest": len(own),
            "average_precision": round(average_precision(np.concatenate([own, scores[:, tag.id]]), truth), 4),
            "found": round(float((own >= limit).mean()), 4),
            "negatives_found": round(float((scores[:, tag.id] >= limit).mean()), 4),
            "other_classes_found": round(float((rest_scores[classes != name, tag.id] >= limit).mean()), 4),
            "in_examples": [
                found.name
                for found in sorted(EXAMPLES.glob("*.jpg"))
                if called in [one.name for one in after.tag(str(found)).tags]
            ],
        }
    for key, value in result.items():
        print(key, value, flush=True)
    return result


def lay_out(given: argparse.Namespace, seed: int, folder: Path, names: dict[str, str]) -> None:
    """Write pictures as files: ``photos``, with a folder for each tag, and ``rest``."""
    shards = sorted(str(shard) for shard in (given.data / "world").glob("world-*.tar"))
    by_class: dict[str, list[Sample]] = {name: [] for name in TAUGHT}
    source = open_source({"path": shards, "tags": "label"})
    for part in range(source.parts):
        for sample in source.read(part):
            if isinstance(sample, Sample) and (name := sample.tags[0].name) in by_class:
                by_class[name].append(sample)
    draw = np.random.default_rng(seed)
    for name, samples in by_class.items():
        reporting = [sample for sample in samples if int(sample.id) % 8 == 0]
        others = [sample for sample in samples if int(sample.id) % 8]
        order = [others[place] for place in draw.permutation(len(others))]
        taught, rest = order[: TAUGHT[name]], order[TAUGHT[name] :]
        for kind, called, found in (
            ("photos", names[name], taught),
            ("rest", name, rest if given.split == "choose" else reporting),
        ):
            (folder / kind / called).mkdir(parents=True)
            for sample in found:
                (folder / kind / called / f"{sample.id}.avif").write_bytes(sample.picture_bytes())


def encode(recognizer: Recognizer, source: object, most: int | None = None) -> tuple[list[Sample], Encoded]:
    """Samples of a source and their image features."""
    samples, features, classes = [], [], []
    for found, pixels in sample_batches(recognizer, [source], []):
        encoded = recognizer.backend.encode(pixels)
        samples += found
        features.append(encoded.features)
        classes.append(encoded.classes)
        if most is not None and len(samples) >= most:
            break
    return samples[:most], Encoded(np.concatenate(features)[:most], np.concatenate(classes)[:most])


def f1(recognizer: Recognizer, samples: list[Sample], found: np.ndarray) -> float:
    """Micro-F1 against the tags of captions."""
    ids = TagIds(recognizer.vocabulary, load_parser("auto"))
    truth = np.zeros(found.shape, bool)
    for row, sample in zip(truth, samples, strict=True):
        named = {id for caption in sample.captions for id in ids.of_caption(caption) or ()}
        row[list(recognizer.vocabulary.with_implied(named))] = True
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


if __name__ == "__main__":
    main()
