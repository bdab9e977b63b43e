"""Measure how a model scores words that nobody taught it: ``python benchmarks/hidden_tags.py --data DIR``.

Hidden are the tags that the recognition decoder never learned: their label queries are still what their names alone
make of them. The model is asked for their names as for any words outside its vocabulary. Single things (``world/``) are
judged by their classes, COCO's scenes by what captions name, which leave much out. Average precision is the mean over
tags that some picture shows, with a 95 % bootstrap interval over tags; chance is how often they are true.

The weights that all such words share (six numbers) were fitted on other pictures, among them some of single things that
show these tags; nothing else has seen the words. ``--split`` is that of ``two_worlds.py``. Writes
``benchmarks/results/hidden_tags.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from _common import add_data_argument, add_model_arguments, machine, table, target, write_targets
from _splits import SPLITS, coco_samples, world_samples
from numpy.typing import NDArray
from two_worlds import class_labels

from anytag import load
from anytag.datasets.samples import Sample
from anytag.evaluation.tagging import average_precisions
from anytag.inference.recognizer import Recognizer
from anytag.language.parsing.parser import load_parser
from anytag.language.tags.vocabulary_builder import TagMapper

#: Cosine of a tag's query and its name's own from which on nothing was learned beyond the name.
_SAME = 0.9999
_ROUNDS = 1000


def hidden_tags(recognizer: Recognizer) -> list[str]:
    """Names of the tags that the recognition decoder never learned."""
    names = [tag.name for tag in recognizer.vocabulary]
    own, plain = recognizer.labels.all().queries.vectors(), recognizer.questions.texts.categories(names).vectors()
    cosines = (own * plain).sum(1) / np.linalg.norm(own, axis=1) / np.linalg.norm(plain, axis=1)
    return [name for name, cosine in zip(names, cosines, strict=True) if cosine > _SAME]


def judged(
    recognizer: Recognizer, samples: Sequence[Sample], truths: Sequence[set[str]], names: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Scores, whether found, and whether true, ``[N, T]`` each, of pictures that can be read."""
    labels = recognizer.labels.of_texts(names)
    known = {sample.source: truth for sample, truth in zip(samples, truths, strict=True)}
    pictures = ((sample.source, sample.picture_bytes()) for sample in samples)
    scores, truth = [], []
    for batch in recognizer.directory.config.image_encoder.preprocessing.batches(pictures, recognizer.batch_size):
        scores.append(recognizer.scorer.scores(recognizer.backend.encode(batch.pixels), labels))
        truth += [[name in known[path] for name in names] for path in batch.paths]
        print(f"\r{len(truth)} pictures", end="", flush=True)
    print()
    made = np.concatenate(scores)
    return made, made >= labels.thresholds, np.array(truth)


def figures(scores: NDArray[np.float32], found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, Any]:
    """Average precision of words that some picture shows, and how often they are found, and rightly."""
    shown = truth.any(0)
    each = average_precisions(scores[:, shown], truth[:, shown])
    rng = np.random.default_rng(0)
    means = [each[rng.integers(len(each), size=len(each))].mean() for _ in range(_ROUNDS)]
    right = found & truth
    return {
        "tags": int(shown.sum()),
        "pictures": len(truth),
        "average_precision": float(each.mean()),
        "from": float(np.quantile(means, 0.025)),
        "to": float(np.quantile(means, 0.975)),
        "chance": float(truth[:, shown].mean()),
        "recall": float((right[:, shown].sum(0) / truth[:, shown].sum(0)).mean()),
        "precision": float(right.sum() / max(found[:, shown].sum(), 1)),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(arguments)
    add_model_arguments(arguments, "hidden_tags.json")
    arguments.add_argument("--split", choices=sorted(SPLITS), default="choose")
    arguments.add_argument("--threads", type=int, help="threads of the runtime (default: all processors)")
    options = arguments.parse_args()
    described = machine()
    recognizer = load(options.model, threads=options.threads)
    vocabulary, names = recognizer.vocabulary, hidden_tags(recognizer)
    parser, mapper, labels = load_parser("light"), TagMapper(recognizer.vocabulary), class_labels(options.data)

    def named(sample: Sample) -> set[str]:
        return {vocabulary[id].name for text in sample.captions for id in mapper(parser.parse(text), implied=False)}

    measured = {}
    for group, samples in (("single things", world_samples), ("scenes", coco_samples)):
        read = list(samples(options.data, options.split))
        truths = [{labels[int(one.id)][1]} if group == "single things" else named(one) for one in read]
        asked = [name for name in names if any(name in own for own in truths)]
        measured[group] = figures(*judged(recognizer, read, truths, asked))
    header = ["pictures", *measured["scenes"]]
    rows = [[group, *(found[name] for name in header[1:])] for group, found in measured.items()]
    table(f"{len(names):,} tags that the decoder never learned, {options.split}", header, rows)
    targets = [
        target(f"hidden tags, average precision, {group}", found["average_precision"], 0.15, True)
        for group, found in measured.items()
    ]
    record = {"machine": described, "split": options.split, "hidden": len(names), "figures": measured}
    write_targets(options.out, targets, record | {"files": recognizer.directory.config.files})


if __name__ == "__main__":
    main()
