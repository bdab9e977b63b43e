"""Run a model over validation shards once: features, scores and annotations of every picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import FloatArray
from anytag.datasets.samples import Sample
from anytag.datasets.webdataset import read_shard
from anytag.inference.label_set import LabelSet
from anytag.inference.recognizer import Recognizer
from anytag.language.parsing.parser import CaptionParser
from anytag.language.tags.vocabulary_builder import TagMapper
from anytag.recognition import TAG_KINDS

_BATCH = 8


@dataclass(frozen=True)
class ScoredShard:
    """A set of pictures with all inputs of the metrics.

    Attributes:
        name: Name of the set.
        samples: Annotations; the pictures' bytes are dropped.
        features: Image features ``[N, tokens, W]``.
        classes: ``[N, C]``, probabilities of the encoder's classes.
        scores: ``[N, T]``, final scores: recognition decoder and the encoder's classifier.
        decoder_scores: ``[N, T]``, recognition decoder alone.
        named: ``[N, T]``, tags parsed from the picture's captions, and their implications.
        judged: ``[N]``, pictures not used to fit thresholds.
    """

    name: str
    samples: list[Sample]
    features: FloatArray
    classes: FloatArray
    scores: FloatArray
    decoder_scores: FloatArray
    named: NDArray[np.bool_]
    judged: NDArray[np.bool_]

    @property
    def references(self) -> list[tuple[str, ...]]:
        """Human captions of every picture."""
        return [sample.captions for sample in self.samples]


def score_shard(
    recognizer: Recognizer, path: Path, name: str, first: int, limit: int | None, parser: CaptionParser
) -> ScoredShard:
    """Run the runtime over a shard.

    Args:
        recognizer: The model.
        path: The shard.
        name: Name of the set.
        first: Index of its first picture in the calibration data, of which even indices were used for fitting.
        limit: Read only this many pictures.
        parser: Caption parser.
    """
    samples: dict[str, Sample] = {}

    def sources() -> Iterator[tuple[str, bytes]]:
        for sample in islice(read_shard(path), limit):
            samples[sample.source] = replace(sample, picture=b"")
            yield sample.source, sample.picture

    labels = recognizer.labels.all()
    plain = without_classes(labels)
    read: list[str] = []
    features, classes, scores, decoder_scores = [], [], [], []
    for batch in recognizer.directory.config.image_encoder.preprocessing.batches(sources(), _BATCH):
        encoded = recognizer.backend.encode(batch.pixels)
        logits = recognizer.backend.recognize(encoded.features, labels.queries)
        read += batch.paths
        features.append(encoded.features)
        classes.append(encoded.classes)
        scores.append(recognizer.scorer.scores(encoded, labels, logits))
        decoder_scores.append(recognizer.scorer.scores(encoded, plain, logits))
        print(f"\r{name}: {len(read)} pictures", end="", flush=True)
    print()
    if not read:
        raise SystemExit(f"no picture could be read from {path}")
    kept = [samples[source] for source in read]
    mapper = TagMapper(recognizer.vocabulary)
    named = np.zeros((len(kept), len(labels.names)), np.bool_)
    for row, sample in zip(named, kept, strict=True):
        row[list(mapper(tag for caption in sample.captions for tag in parser.parse(caption)))] = True
    return ScoredShard(
        name,
        kept,
        np.concatenate(features),
        np.concatenate(classes),
        np.concatenate(scores),
        np.concatenate(decoder_scores),
        named,
        (np.arange(len(kept)) + first) % 2 == 1,
    )


def without_classes(labels: LabelSet) -> LabelSet:
    """The same labels without ImageNet classes."""
    return replace(labels, classes=np.zeros((0, len(labels.names)), np.float32))


def kind_columns(labels: LabelSet) -> dict[str, NDArray[np.int64]]:
    """Column indices by kind of tag."""
    return {kind: np.array([i for i, k in enumerate(labels.kinds) if k == kind], np.int64) for kind in TAG_KINDS}
