"""Models of the engine's steps: small descriptions that can be sent to other machines, and are loaded there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from anytag.backends.base import BackendName, Precision
from anytag.data_engine.manifest import Manifest, PictureRecord
from anytag.data_engine.work import Outcome
from anytag.datasets.samples import Sample
from anytag.datasets.sources import SampleSource
from anytag.errors import SampleError
from anytag.inference.recognizer import Recognizer, load
from anytag.model.directory import ModelDirectory, find_model


class Model(Protocol):
    """A model that a step uses; small when it is pickled."""

    def __hash__(self) -> int: ...

    def directory(self) -> ModelDirectory:
        """Return the model's files, without loading them."""
        ...

    def load(self) -> Recognizer:
        """Load the model."""
        ...


@dataclass(frozen=True)
class ModelSpec:
    """A model directory, with arguments of :func:`anytag.load`."""

    path: str | None = None
    backend: BackendName | None = None
    device: str = "cpu"
    precision: Precision = "float32"
    threads: int | None = None
    batch_size: int = 8

    def directory(self) -> ModelDirectory:
        return find_model(self.path)

    def load(self) -> Recognizer:
        return load(
            self.path,
            backend=self.backend,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            batch_size=self.batch_size,
        )


@cache
def loaded(model: Model) -> Recognizer:
    """Load a model, once per process."""
    return model.load()


def model_name(model: Model) -> str:
    """Return a model's name, and eight digits of the SHA-256 of its files (``lite@814ea3c5``)."""
    directory = model.directory()
    return f"{directory.config.name}@{directory.fingerprint[:8]}"


def pictures_of(
    manifest: Manifest, source: SampleSource, part: int, outcome: Outcome
) -> Iterator[tuple[PictureRecord, Sample]]:
    """Yield a part's records with their samples, in order; count those that cannot be read as failed."""
    samples = enumerate(source.read(part))
    for item in manifest.read(part):
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
