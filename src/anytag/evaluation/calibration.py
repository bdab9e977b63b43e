"""Per-tag thresholds, fitted on labelled pictures and written into a model's vocabulary."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anytag.datasets.samples import Sample
from anytag.datasets.webdataset import read_shard
from anytag.errors import UsageError
from anytag.evaluation.tagging import best_thresholds
from anytag.language.parser import load_parser
from anytag.language.vocabulary_builder import TagMapper
from anytag.model_config import ModelConfig
from anytag.model_directory import write_config
from anytag.recognizer import Recognizer

Report = Callable[[str], None]


@dataclass(frozen=True)
class LabelledScores:
    """What a model says of pictures, and what their captions say.

    Attributes:
        scores: ``[N, T]`` of the whole vocabulary.
        truth: ``[N, T]``: the tags parsed from the picture's captions, and what they imply.
        samples: The pictures' annotations; their bytes are dropped.
    """

    scores: NDArray[np.float32]
    truth: NDArray[np.bool_]
    samples: list[Sample]


def score_shards(recognizer: Recognizer, shards: Sequence[Path], parser: str = "auto") -> LabelledScores:
    """Run a model over shards whose samples have captions.

    Raises:
        UsageError: If no sample could be read.
    """
    from anytag.pictures import load_batches

    samples: list[Sample] = []

    def sources() -> Iterable[tuple[str, bytes]]:
        for shard in shards:
            for sample in read_shard(shard):
                samples.append(replace(sample, picture=b""))
                yield sample.source, sample.picture

    labels = recognizer.labels.all()
    resolution = recognizer.directory.config.image_encoder.resolution
    rows, read = [], []
    for batch in load_batches(sources(), resolution, 16):
        read += batch.paths
        rows.append(recognizer.backend.recognize(recognizer.backend.encode(batch.pixels).features, labels.queries))
    if not read:
        raise UsageError(f"no picture could be read from {', '.join(map(str, shards))}")
    by_source = {sample.source: sample for sample in samples}
    kept = [by_source[source] for source in read]
    mapper, reader = TagMapper(recognizer.vocabulary), load_parser(parser)  # type: ignore[arg-type]
    truth = np.zeros((len(kept), len(recognizer.vocabulary)), dtype=bool)
    for row, sample in zip(truth, kept, strict=True):
        row[list(mapper(tag for caption in sample.captions for tag in reader.parse(caption)))] = True
    return LabelledScores(np.concatenate(rows), truth, kept)


def calibrate(
    recognizer: Recognizer, data: LabelledScores, source: str, untrained: float = 0.95, report: Report = print
) -> None:
    """Fit thresholds (best F1, drawn towards a common one where there are few positives) and save them.

    Captions leave out much of what is true of a picture, so such thresholds err on the side of naming less.

    Args:
        recognizer: The model; its directory is changed: ``vocabulary.json`` and the checksums in ``config.json``.
        data: Scores and truth of pictures that the model was not trained on.
        source: Provenance, written beside every threshold.
        untrained: Quantile of the untrained tags' scores over the data that becomes their threshold: no evidence
            says that they are ever right, so they have to stand out.
        report: Receives a summary.
    """
    fitted = best_thresholds(data.scores, data.truth)
    spread = np.quantile(data.scores, untrained, axis=0)
    tags = []
    for tag in recognizer.vocabulary:
        value, origin = float(fitted.values[tag.id]), f"{source}, {int(fitted.positives[tag.id])} positives"
        if tag.support == 0:
            value, origin = max(fitted.overall, float(spread[tag.id])), f"{source}, never trained"
        tags.append(replace(tag, threshold=round(value, 4), threshold_from=origin))
    directory = recognizer.directory
    type(recognizer.vocabulary)(tags).save(directory.path / "vocabulary.json")
    record = json.loads((directory.path / "config.json").read_text(encoding="utf-8"))
    record["default_threshold"] = record["open_threshold"] = round(fitted.overall, 4)
    config = ModelConfig.model_validate(record)
    write_config(directory.path, config, config.files)
    seen = int((fitted.positives > 0).sum())
    report(f"{len(data.scores)} pictures, {seen} tags with positives, common threshold {fitted.overall:.3f}")
