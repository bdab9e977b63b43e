"""Scores of labeled pictures, beside the tags that their annotations name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.datasets.opening import open_source
from anytag.datasets.samples import Sample
from anytag.datasets.sources import SampleSource
from anytag.errors import PictureError, SampleError, UsageError
from anytag.inference.recognizer import Recognizer
from anytag.language.parsing.parser import load_parser
from anytag.language.tags.tag_ids import TagIds

_BATCH = 16

#: Unknown names that a message shows.
_SHOWN = 5


@dataclass(frozen=True)
class LabeledScores:
    """Scores and annotated tags of pictures.

    Attributes:
        logits: ``[N, T]``, of the whole vocabulary (:meth:`~anytag.inference.scoring.Scorer.logits`).
        truth: ``[N, T]``: the tags named by the picture's captions and by its own tags, and what they imply.
        samples: The pictures' annotations, without the pictures.
        evidence: ``[N, T]``, from the classifier (:meth:`~anytag.inference.scoring.Scorer.class_evidence`).
        judged: ``[T]``, the tags that the annotations could have named; ``None``: all of them. A caption may name
            anything; a data set without captions names only tags of its own list.
        notes: Sentences about data that could not be used.
    """

    logits: NDArray[np.float32]
    truth: NDArray[np.bool_]
    samples: list[Sample]
    evidence: NDArray[np.float32]
    judged: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, rows: slice) -> LabeledScores:
        arrays = {name: getattr(self, name)[rows] for name in ("logits", "truth", "samples", "evidence")}
        return replace(self, **arrays)


def score_pictures(
    recognizer: Recognizer, sources: Sequence[str | Path | Mapping[str, Any]], parser: str = "auto"
) -> LabeledScores:
    """Score pictures that have captions or tags.

    Args:
        sources: As for training: anything that :func:`~anytag.datasets.opening.open_source` opens.
        parser: Reads captions: ``auto``, ``light`` or ``spacy``.

    Raises:
        UsageError: If a source cannot be opened, or no picture could be read.
    """
    opened = [open_source(source) for source in sources]
    problems: list[str] = []
    labels = recognizer.labels.all()
    logits, evidence, kept = [], [], []
    for samples, pixels in sample_batches(recognizer, opened, problems):
        kept += samples
        encoded = recognizer.backend.encode(pixels)
        logits.append(recognizer.scorer.logits(encoded, labels))
        evidence.append(recognizer.scorer.class_evidence(encoded, labels))
    if not kept:
        raise nothing_readable(opened, problems)
    truth, judged, notes = _truth(recognizer, kept, parser)
    if problems:
        notes = (f"Pictures that could not be used: {len(problems):,}.{_examples(problems)}", *notes)
    return LabeledScores(np.concatenate(logits), truth, kept, np.concatenate(evidence), judged, notes)


def sample_batches(
    recognizer: Recognizer,
    sources: Sequence[SampleSource],
    problems: list[str],
    keep: Callable[[Sample], bool] | None = None,
) -> Iterator[tuple[list[Sample], NDArray[np.uint8]]]:
    """Read samples and preprocess their pictures for a model.

    Args:
        problems: Receives a message for everything that cannot be read.

    Yields:
        Samples without their pictures, and pixels ``[B, R, R, 3]``.
    """
    samples: dict[str, Sample] = {}

    def pictures() -> Iterator[tuple[str, bytes]]:
        for number, source in enumerate(sources):
            problems.extend(map(str, source.problems))
            for part in range(source.parts):
                for item in source.read(part):
                    try:
                        if isinstance(item, SampleError):
                            raise item
                        if keep is not None and not keep(item):
                            continue
                        key = f"{number}:{item.place}"
                        content = item.picture_bytes()
                    except (SampleError, PictureError) as error:
                        problems.append(str(error))
                        continue
                    samples[key] = replace(item, picture=b"")
                    yield key, content

    for batch in recognizer.directory.config.image_encoder.preprocessing.batches(pictures(), _BATCH):
        problems += [failure.message for failure in batch.failures]
        if batch.paths:
            yield [samples[key] for key in batch.paths], batch.pixels


def nothing_readable(sources: Sequence[SampleSource], problems: Sequence[str]) -> UsageError:
    """Return the error to raise if none of the pictures can be read."""
    where = ", ".join(source.description for source in sources)
    return UsageError(f"no picture could be read from {where}.{_examples(problems)}")


def _truth(
    recognizer: Recognizer, samples: Sequence[Sample], parser: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None, tuple[str, ...]]:
    """Return ``truth``, ``judged`` and notes of :class:`LabeledScores`."""
    vocabulary = recognizer.vocabulary
    ids = TagIds(vocabulary, load_parser(parser))  # type: ignore[arg-type]
    truth = np.zeros((len(samples), len(vocabulary)), dtype=bool)
    for row, sample in zip(truth, samples, strict=True):
        named = ids.of_names(sample.tags)
        for caption in sample.captions:
            named.update(ids.of_caption(caption) or ())
        row[list(vocabulary.with_implied(named))] = True
    notes = []
    bare = sum(not sample.captions and not sample.tags for sample in samples)
    if bare:
        notes.append(
            f"{bare:,} of {len(samples):,} pictures have neither captions nor tags; they count as showing none."
        )
    if unknown := ids.unknown_names:
        shown = ", ".join(f"{name!r} ({count:,})" for name, count in unknown.most_common(_SHOWN))
        more = f", and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
        notes.append(f"The vocabulary does not have these names: {shown}{more}.")
    closed = not any(sample.captions for sample in samples)
    judged: NDArray[np.bool_] | None = np.asarray(truth.any(0)) if closed else None
    return truth, judged, tuple(notes)


def _examples(problems: Sequence[str]) -> str:
    return " The first:" + "".join(f"\n  {problem}" for problem in problems[:3]) if problems else ""
