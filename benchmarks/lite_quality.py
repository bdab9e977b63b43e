"""Measure the shipped model's tags and captions: ``python benchmarks/lite_quality.py --data DIR [--limit N]``.

Pictures are the last COCO shard (1,000, with human categories and one caption) and Flickr8k dev (1,000, five captions
each), which were not used for training. Runs the shipped graphs in ONNX Runtime. Thresholds were fitted on every other
picture of both (``anytag calibrate --half COCO FLICKR``), so tags at thresholds use only the other half. Writes
``benchmarks/results/lite_quality.json``.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from _caption_quality import Writer, caption_figures, control_figures, free_captions, print_captions
from _common import (
    add_data_argument,
    add_model_arguments,
    installed_version,
    machine,
    print_targets,
    target,
    write_result,
)
from _scoring import score_shard
from _tag_quality import category_figures, found_figures, print_tags

from anytag.inference.recognizer import load
from anytag.language.parsing.parser import load_parser

_SHARDS = {"coco": "coco20k/coco20k-000019.tar", "flickr8k_dev": "flickr8k/flickr8k-dev-000000.tar"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(arguments)
    add_model_arguments(arguments, "lite_quality.json")
    arguments.add_argument("--limit", type=int, help="only this many pictures of each set, for a quick run")
    arguments.add_argument("--control", type=int, default=500, help="pictures sampled for the control figures")
    arguments.add_argument("--threads", type=int, help="threads of the runtime (default: all processors)")
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    # An even number keeps the same halves as in a full run.
    limit = options.limit + options.limit % 2 if options.limit else None
    described, started = machine(), time.perf_counter()
    recognizer, parser = load(options.model, threads=options.threads), load_parser("auto")
    shards = []
    for name, path in _SHARDS.items():
        first = sum(len(shard.samples) for shard in shards)
        shards.append(score_shard(recognizer, options.data / path, name, first, limit, parser))
    coco, flickr = shards
    labels = recognizer.labels.all()

    categories = category_figures(coco, recognizer.vocabulary)
    found = {shard.name: found_figures(shard, labels) for shard in shards}
    print_tags(categories, found)
    record: dict[str, Any] = {
        "machine": described,
        "model": {
            "name": recognizer.directory.config.name,
            "tags": len(labels.names),
            "files": recognizer.directory.config.files,
            "thresholds_from": sorted({_origin(tag.threshold_from) for tag in recognizer.vocabulary}),
        },
        "limit": limit,
        "parser": parser.name if hasattr(parser, "name") else "auto",
        "categories": categories,
        "tags_against_captions": {
            "note": "thresholds were fitted on pictures 0, 2, 4, … of both sets in this order; judged on the others",
            **found,
        },
    }

    writer = Writer(recognizer)
    free = free_captions(writer, flickr, range(len(flickr.samples)))
    captions = caption_figures(writer, flickr, list(free.values()), parser)
    control = control_figures(writer, shards, {flickr.name: free}, parser, options.control, options.seed)
    print_captions(captions, control)
    scores = captions["scores"]
    guided = scores["guided by the tags found (default)"]["cider_d"]
    targets = [
        target("mAP over 18 categories", categories["map"]["shipped"], 0.75, True),
        target("CIDEr-D, guided, five references", guided, 0.60, True),
        target("CIDEr-D, guided over unguided", guided / max(scores["unguided"]["cider_d"], 1e-9), 1.0, True),
        target("control: named when asked for", control["all"]["rate"], 0.60, True),
    ]
    print_targets(targets)
    record |= {
        "captions": captions,
        "control": control,
        "targets": targets,
        "seconds": time.perf_counter() - started,
        "tokenizers": installed_version("tokenizers"),
    }
    if limit:
        print(f"\nOnly {limit} pictures of each set: the figures are unreliable.")
    write_result(options.out, record)


def _origin(text: str | None) -> str:
    """Origin of a threshold, without the number of positives."""
    return text.rsplit(", ", 1)[0] if text else "the model's default"


if __name__ == "__main__":
    main()
