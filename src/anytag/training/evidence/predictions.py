"""Predictions of a model for training pictures, cached on disk."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.datasets.bad_samples import BadSamples
from anytag.datasets.samples import Log, Sample
from anytag.datasets.sources import SampleSource
from anytag.errors import PictureError, SampleError, UsageError
from anytag.foundations.atomic_files import save_array
from anytag.foundations.json_lines import read_records, write_records
from anytag.foundations.report import Report
from anytag.inference.joint_embedding import JOINT_EMBEDDING_FILE
from anytag.inference.recognizer import Recognizer
from anytag.model.translations import TRANSLATIONS_FILE
from anytag.training.recipes.evidence import PictureGroup

_BATCH = 8

#: Files of a model that do not affect these predictions.
_WITHOUT_EFFECT = {
    *("README.md", "evidence.safetensors", "tokenizer.json", "vocabulary.json", "label_tokenizer.json"),
    *("onnx/attention.onnx", "onnx/interaction_encoder.onnx", "onnx/label_encoder.onnx", "onnx/text_decoder.onnx"),
    TRANSLATIONS_FILE,
    JOINT_EMBEDDING_FILE,
}


@dataclass(frozen=True)
class Predictions:
    """Predictions for pictures.

    Attributes:
        samples: Annotations, without the pictures.
        means: ``[N, W]``, first token, the mean over the picture.
        classes: ``[N, C]``, the classifier's log-probabilities.
        decoder: ``[N, T]``, the recognition decoder's logits; ``None`` if not computed.
    """

    samples: list[Sample]
    means: NDArray[np.float32]
    classes: NDArray[np.float32]
    decoder: NDArray[np.float16] | None


class PredictionCache:
    """Predict pictures, or read cached predictions.

    Args:
        folder: The cache, with files for every part of a source.
        log: Receives a record for every picture that cannot be read.
    """

    def __init__(self, recognizer: Recognizer, folder: Path, report: Report, log: Log | None = None):
        self.recognizer, self.report, self.log = recognizer, report, log
        config = recognizer.directory.config
        depends_on = [
            f"{name} {digest}" for name, digest in sorted(config.files.items()) if name not in _WITHOUT_EFFECT
        ]
        depends_on.append(config.image_encoder.model_dump_json())
        depends_on += [f"{tag.name} {tag.kind}" for tag in recognizer.vocabulary]
        self.folder = folder / f"predictions-{hashlib.sha256(' '.join(depends_on).encode()).hexdigest()[:16]}"

    def __call__(self, group: PictureGroup, source: SampleSource) -> Predictions:
        """Predict the pictures of a group.

        Args:
            group: Selects pictures of the source; for those that the decoder was trained on, it is not run.

        Raises:
            UsageError: If no picture can be read, or an id is not a number although pictures are selected by it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        parts = []
        for part in range(source.parts):
            key = f"{source.contents} {part} {group.modulus} {group.remainders} {group.seen}"
            stem = self.folder / hashlib.sha256(key.encode()).hexdigest()[:16]
            if not stem.with_suffix(".jsonl").exists():
                start = time.perf_counter()
                count = self._predict(group, source, part, stem)
                rate = count / (time.perf_counter() - start)
                self.report(f"{source.identity}: part {part + 1}/{source.parts}, {rate:.0f} pictures/s")
            parts.append(_read(stem, not group.seen))
        if not any(part.samples for part in parts):
            raise UsageError(f"{source.identity}: no picture can be read; see bad-samples.jsonl")
        return concatenated(parts)

    def _predict(self, group: PictureGroup, source: SampleSource, part: int, stem: Path) -> int:
        kept: dict[str, Sample] = {}
        bad = BadSamples(log=self.log)
        backend, labels = self.recognizer.backend, self.recognizer.labels.all()

        def pictures() -> Iterator[tuple[str, bytes]]:
            for sample in source.read(part):
                if isinstance(sample, SampleError):
                    bad.failed(sample, source.parts)
                elif _is_wanted(sample, group):
                    name = sample.source or sample.id
                    kept[name] = sample
                    yield name, sample.picture_bytes()

        config = self.recognizer.directory.config
        means, classes, logits, read = [], [], [], []
        for batch in config.image_encoder.preprocessing.batches(pictures(), _BATCH, 1):
            for failure in batch.failures:
                bad.failed(PictureError(failure.kind, failure.path, failure.message), source.parts)
            encoded = backend.encode(batch.pixels)
            means.append(encoded.features[:, 0].astype(np.float16))
            classes.append(np.log(np.maximum(encoded.classes, np.float32(1e-12))).astype(np.float16))
            if not group.seen:
                logits.append(backend.recognize(encoded.features, labels.queries).astype(np.float16))
            for path in batch.paths:
                bad.good()
                read.append(kept.pop(path).to_json())
        width = config.features
        save_array(stem.with_suffix(".means.npy"), _stacked(means, width))
        save_array(stem.with_suffix(".classes.npy"), _stacked(classes, config.image_encoder.classes))
        if not group.seen:
            save_array(stem.with_suffix(".decoder.npy"), _stacked(logits, len(labels.names)))
        # Written last: its existence means that the others are complete.
        write_records(stem.with_suffix(".jsonl"), read)
        return len(read)


def concatenated(parts: list[Predictions]) -> Predictions:
    """Concatenate predictions; the decoder's only if all parts have them."""
    decoders = [part.decoder for part in parts]
    return Predictions(
        [sample for part in parts for sample in part.samples],
        np.concatenate([part.means for part in parts]),
        np.concatenate([part.classes for part in parts]),
        None if any(one is None for one in decoders) else np.concatenate([one for one in decoders if one is not None]),
    )


def _is_wanted(sample: Sample, group: PictureGroup) -> bool:
    if group.modulus == 1:
        return True
    if not sample.id.isdecimal():
        raise UsageError(
            f"{sample.source}: its id {sample.id!r} is not a number, which modulus {group.modulus} asks for"
        )
    return int(sample.id) % group.modulus in group.remainders


def _read(stem: Path, decoder: bool) -> Predictions:
    return Predictions(
        [Sample.from_json(record) for record in read_records(stem.with_suffix(".jsonl"))],
        np.load(stem.with_suffix(".means.npy")).astype(np.float32),
        np.load(stem.with_suffix(".classes.npy")).astype(np.float32),
        np.load(stem.with_suffix(".decoder.npy")) if decoder else None,
    )


def _stacked(rows: list[NDArray[Any]], width: int) -> NDArray[Any]:
    return np.concatenate(rows) if rows else np.zeros((0, width), np.float16)
