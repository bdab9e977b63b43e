"""Measure how well sentences find pictures: ``python benchmarks/text_search.py --data DIR``.

A human caption of each picture is the query, and that picture is the only correct result among all others. Three
methods are compared: alignment alone (the cosine of the joint embedding), tags alone (the scores of the picture's tags
that the caption mentions), and both, as in ``anytag search --text``.

``--split choose`` uses COCO's shard 19, on which variants and the weight of tags may be compared (``--weights``);
``--split report`` uses ``coco_report``, on which nothing was ever chosen. Writes
``benchmarks/results/text_search.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from _common import add_data_argument, add_model_arguments, machine, table, write_result
from _splits import SPLITS, coco_samples
from numpy.typing import NDArray

from anytag.backends.base import Encoded
from anytag.datasets.samples import Sample
from anytag.evaluation.retrieval import median_ranks, recall_at_k
from anytag.inference.recognizer import Recognizer, load
from anytag.recognition import Failure


def scores(
    recognizer: Recognizer, samples: Iterator[Sample]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Cosines and sums of tag scores, both ``[pictures, captions]``, and the picture of each caption."""
    questions = recognizer.questions
    joint = questions.joint_embedding
    if joint is None:
        raise SystemExit(f"{recognizer.directory.path} has no joint embedding")
    ask, kept = questions.tags(), {}

    def pictures() -> Iterator[tuple[str, bytes]]:
        for sample in samples:
            kept[sample.source] = sample
            yield sample.source, sample.picture_bytes()

    def both(encoded: Encoded, paths: Sequence[str]) -> list[Any]:
        return list(zip(ask(encoded, paths), joint.pictures(encoded), strict=True))

    vectors, shown, captions, owners = [], [], [], []
    for answer in recognizer.answers(pictures(), both):
        if isinstance(answer, Failure):
            print(answer.message)
            continue
        seen, vector = answer
        row = np.zeros(len(recognizer.vocabulary), np.float32)
        for tag in seen.tags:
            row[tag.id] = tag.score
        own = kept[seen.path].captions
        owners += [len(vectors)] * len(own)
        captions += own
        vectors.append(vector)
        shown.append(row)
        print(f"\r{len(vectors)} pictures", end="", flush=True)
    print()
    texts = np.zeros((len(captions), joint.width), np.float32)
    named = np.zeros((len(captions), len(recognizer.vocabulary)), np.float32)
    for row, caption in enumerate(captions):
        texts[row], tags, _ = questions.embed_text(caption)
        named[row, [tag.id for tag in tags]] = 1
    return np.stack(vectors) @ texts.T, np.stack(shown) @ named.T, np.array(owners)


def figures(found: NDArray[np.float32], owners: NDArray[np.int64]) -> dict[str, float]:
    """Retrieval metrics of texts that search for their pictures."""
    recall = recall_at_k(found, owners).picture
    return {f"recall_at_{k}": value for k, value in recall.items()} | {"median_rank": median_ranks(found, owners)[1]}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(arguments)
    add_model_arguments(arguments, "text_search.json")
    arguments.add_argument("--split", choices=sorted(SPLITS), default="choose")
    arguments.add_argument("--limit", type=int, help="only this many pictures, for a quick run")
    arguments.add_argument("--threads", type=int, help="threads of the runtime (default: all processors)")
    arguments.add_argument("--weights", type=float, nargs="*", help="weights of tags to compare (default: the model's)")
    options = arguments.parse_args()
    if options.weights and options.split == "report":
        raise SystemExit("nothing may be chosen on the reporting pictures; compare weights with --split choose")
    described = machine()
    recognizer = load(options.model, threads=options.threads)
    samples = coco_samples(options.data, options.split)
    cosines, tags, owners = scores(recognizer, islice((s for s in samples if isinstance(s, Sample)), options.limit))
    assert recognizer.directory.config.joint_embedding is not None
    own = recognizer.directory.config.joint_embedding.tag_weight
    ways = {"alignment": figures(cosines, owners), "tags": figures(tags, owners)}
    for weight in options.weights or [own]:
        ways["both" if weight == own else f"both, {weight:g}"] = figures(cosines + weight * tags, owners)
    title = f"{len(owners)} captions find their pictures among {len(cosines)}, {options.split}"
    names = list(ways["tags"])
    table(title, ["by", *names], [[way, *(found[name] for name in names)] for way, found in ways.items()])
    result = {"pictures": len(cosines), "captions": len(owners), "tag_weight": own, "ways": ways}
    write_result(options.out, {"machine": described, "split": options.split} | result)


if __name__ == "__main__":
    main()
