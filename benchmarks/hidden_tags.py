"""Measure scores of words that a model was not trained on: ``python benchmarks/hidden_tags.py --data DIR``.

Hidden tags are those that the recognition decoder was not trained on: their label queries still depend on their names
alone. Their names are scored like words outside the vocabulary. The truth is given by classes for single things
(``world/``), and by captions, which leave much out, for COCO scenes. Average precision is the mean over tags that are
true of some picture, with a 95 % bootstrap interval over tags; chance is their frequency.

The six weights shared by all such words were fitted on other pictures, some of which show these tags as single things;
nothing else was fitted on the words. ``--split`` is that of ``two_worlds.py``. Writes
``benchmarks/results/hidden_tags.json``.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _common import add_data_argument, add_model_arguments, machine, table, target, write_targets
from _splits import SPLITS, coco_samples, world_samples
from numpy.typing import NDArray
from two_worlds import Scored, class_labels, resampled, score

from anytag import load
from anytag.datasets.samples import Sample
from anytag.evaluation.ranking import average_precisions
from anytag.inference.recognizer import Recognizer
from anytag.language.parsing.parser import load_parser
from anytag.language.tags.vocabulary_builder import TagMapper

#: Above this cosine of a tag's query and that of its name, the tag counts as not trained.
_SAME = 0.9999


def hidden_tags(recognizer: Recognizer) -> list[str]:
    """Names of the tags that the recognition decoder was not trained on."""
    names = [tag.name for tag in recognizer.vocabulary]
    own, plain = recognizer.labels.all().queries.vectors(), recognizer.questions.texts.categories(names).vectors()
    cosines = (own * plain).sum(1) / np.linalg.norm(own, axis=1) / np.linalg.norm(plain, axis=1)
    return [name for name, cosine in zip(names, cosines, strict=True) if cosine > _SAME]


def figures(scored: Scored, truth: NDArray[np.bool_]) -> dict[str, Any]:
    """Average precision, recall and precision of words that are true of some picture."""
    shown = truth.any(0)
    found, true = scored.found[:, shown], truth[:, shown]
    each = average_precisions(scored.scores[:, shown], true)
    mean = resampled(lambda rows: float(each[rows].mean()), len(each), 0)
    return {
        "tags": int(shown.sum()),
        "pictures": len(truth),
        "average_precision": mean["value"],
        "from": mean["interval"][0],
        "to": mean["interval"][1],
        "chance": float(true.mean()),
        "recall": float(((found & true).sum(0) / true.sum(0)).mean()),
        "precision": float((found & true).sum() / max(found.sum(), 1)),
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

    groups = {
        "single things": (world_samples, lambda sample: {labels[int(sample.id)][1]}),
        "scenes": (coco_samples, named),
    }
    measured = {}
    for group, (samples, truth_of) in groups.items():
        truths = {sample.source: truth_of(sample) for sample in samples(options.data, options.split)}
        asked = [name for name in names if any(name in own for own in truths.values())]
        scored = score(recognizer, samples(options.data, options.split), labels=recognizer.labels.of_texts(asked))
        truth = np.array([[name in truths[sample.source] for name in asked] for sample in scored.samples])
        measured[group] = figures(scored, truth)
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
