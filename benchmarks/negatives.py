"""Make the negatives that new tags are trained against (``src/anytag/teaching/negatives.npz``).

    python benchmarks/negatives.py ../shared/data --out src/anytag/teaching/negatives.npz

Uses pictures that models may be trained on, without the classes that ``benchmarks/own_tags.py`` teaches, because these
would not be negatives there.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from own_tags import TAUGHT

import anytag
from anytag.datasets.opening import open_source
from anytag.datasets.samples import Sample
from anytag.evaluation.labeled_scores import sample_batches
from anytag.inference.embedding import taught_inputs
from anytag.language.parsing.parser import load_parser
from anytag.language.tags.tag_ids import TagIds
from anytag.teaching.negatives import encoder_of, make_negatives

#: Sources, the share of pictures to use, and the field with their tags.
SOURCES = (
    ([f"coco20k/coco20k-{number:06d}.tar" for number in range(19)], 0.25, "tags"),
    ([f"flickr8k/flickr8k-train-{number:06d}.tar" for number in range(6)], 0.15, "tags"),
    ([f"world/world-{number:06d}.tar" for number in range(9)], 0.30, "label"),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--threads", type=int)
    given = arguments.parse_args()
    recognizer = anytag.load(threads=given.threads)
    inputs, samples = [], []
    for shards, share, tags in SOURCES:
        draw = random.Random(0)

        def wanted(sample: Sample, draw: random.Random = draw, share: float = share, tags: str = tags) -> bool:
            is_drawn = draw.random() < share
            if tags != "label":
                return is_drawn
            held_out = int(sample.id) % 8 == 0  # Those report.
            return is_drawn and not held_out and not {tag.name for tag in sample.tags} & set(TAUGHT)

        source = open_source({"path": [str(given.data / shard) for shard in shards], "tags": tags})
        problems: list[str] = []
        for found, pixels in sample_batches(recognizer, [source], problems, wanted):
            inputs.append(taught_inputs(recognizer.backend.encode(pixels)))
            samples += found
        if problems:
            raise SystemExit("\n".join(problems[:5]))
        print(f"{source.description}: {len(samples):,} pictures so far", flush=True)
    ids = TagIds(recognizer.vocabulary, load_parser("auto"))
    shown = []
    for sample in samples:
        named = ids.of_names(sample.tags).union(*(ids.of_caption(caption) or () for caption in sample.captions))
        shown.append(sorted(recognizer.vocabulary.with_implied(named)))
    features = recognizer.directory.config.features
    bank = make_negatives(
        np.concatenate(inputs),
        shown,
        recognizer.vocabulary,
        features,
        encoder_of(recognizer.directory),
    )
    bank.save(given.out)
    print(f"{given.out}: {len(samples):,} pictures, {given.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
