"""Models of the engine's steps: small descriptions that can be sent to other machines, and are loaded there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from anytag.backends.base import BackendName, Precision
from anytag.data_engine.inputs import digest_part
from anytag.data_engine.manifest import Manifest, PictureRecord
from anytag.data_engine.work import Digest, Outcome, Step
from anytag.datasets.samples import Sample
from anytag.datasets.sources import SampleSource
from anytag.errors import SampleError
from anytag.inference.recognizer import Recognizer, load
from anytag.model.directory import ModelDirectory, find_model


@dataclass(frozen=True)
class ModelSpec:
    """A model directory, with arguments of :func:`anytag.load`; small when it is pickled."""

    path: str | None = None
    backend: BackendName | None = None
    device: str = "cpu"
    precision: Precision = "float32"
    threads: int | None = None
    batch_size: int = 8

    def directory(self) -> ModelDirectory:
        """Return the model's files, without loading them."""
        return find_model(self.path)

    def load(self) -> Recognizer:
        """Load the model."""
        return load(
            self.path,
            backend=self.backend,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            batch_size=self.batch_size,
        )


@cache
def loaded(model: ModelSpec) -> Recognizer:
    """Load a model, once per process."""
    return model.load()


def model_name(model: ModelSpec) -> str:
    """Return a model's name, and eight digits of the SHA-256 of its files (``lite@814ea3c5``)."""
    directory = model.directory()
    return f"{directory.config.name}@{directory.fingerprint[:8]}"


@dataclass(frozen=True)
class PicturesStep(Step):
    """A step in which a model sees the pictures of a manifest; a unit is a part."""

    folder: Path
    manifest: Manifest
    source: SampleSource
    model: ModelSpec

    @property
    def units(self) -> int:
        return self.manifest.parts

    def files(self, unit: int) -> list[Path]:
        return [self.manifest.part(unit), self.manifest.vocabulary_path]

    def inputs(self, unit: int, known: Sequence[Digest] = ()) -> list[Digest]:
        return [*super().inputs(unit, known), *digest_part(self.source, unit, known)]

    def pictures(self, unit: int, outcome: Outcome) -> Iterator[tuple[PictureRecord, Sample]]:
        """Yield a part's records with their samples, in order; count those that cannot be read as failed."""
        samples = enumerate(self.source.read(unit))
        for item in self.manifest.read(unit):
            outcome.counts["pictures_in"] += 1
            if isinstance(item, SampleError):
                outcome.fail(item)
                continue
            row, sample = next(((row, sample) for row, sample in samples if row >= item.row), (None, None))
            if row != item.row or sample is None:
                outcome.fail((item.place, "row", "the source has no such picture anymore"))
            elif isinstance(sample, SampleError):
                outcome.fail(sample)
            elif sample.id != item.id:
                outcome.fail((item.place, "row", f"the source has {sample.id!r} in this place; parse it again"))
            else:
                yield item, sample
