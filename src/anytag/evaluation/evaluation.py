"""Evaluate a system on a benchmark: tagging, captioning or retrieval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.errors import UsageError
from anytag.evaluation.benchmarks.benchmark import Benchmark
from anytag.evaluation.caption_tags import CaptionTagFigures, CategoryParser, caption_tag_figures
from anytag.evaluation.captioning import CaptionScores, Metric, score_captions
from anytag.evaluation.figures import ClassFigures, TaggingFigures, Thresholds, fit_thresholds, tagging_figures
from anytag.evaluation.ranking import standardized
from anytag.evaluation.retrieval import RetrievalRecall, median_ranks, recall_at_k
from anytag.evaluation.scoring import Scored, caption_benchmark, score_benchmark
from anytag.evaluation.systems import ModelSystem, System, default_vocabulary, kinds_of
from anytag.foundations.wording import counted, listed
from anytag.recognition import Failure

#: Called after every picture.
Advance = Callable[[], None]


@dataclass(frozen=True)
class Evaluation:
    """Figures of one system on one benchmark; those that do not apply are ``None``.

    Attributes:
        paradigm: See :class:`~anytag.evaluation.systems.System`.
        benchmark: Key of the benchmark.
        caption_tags: How captions agree with annotated tags.
        retrieval: Recall both ways.
        median_rank: Of texts for pictures, and of pictures for texts, from 1.
        failures: Pictures that could not be read, which the figures leave out.
        unscored: Classes that the system cannot score, which the figures leave out.
    """

    system: str
    paradigm: str
    benchmark: str
    title: str
    tagging: TaggingFigures | None = None
    classes: tuple[ClassFigures, ...] = ()
    captions: CaptionScores | None = None
    caption_tags: CaptionTagFigures | None = None
    retrieval: RetrievalRecall | None = None
    median_rank: tuple[float, float] | None = None
    failures: tuple[Failure, ...] = ()
    unscored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the record for ``results.json``."""
        record: dict[str, Any] = {name: getattr(self, name) for name in ("system", "paradigm", "benchmark", "title")}
        record["failed_pictures"] = len(self.failures)
        record["unscored_classes"] = list(self.unscored)
        record["notes"] = list(self.notes)
        if self.tagging:
            record["tagging"] = self.tagging.to_json()
        for name in ("captions", "caption_tags", "retrieval"):
            if (part := getattr(self, name)) is not None:
                record[name] = asdict(part)
        if self.median_rank:
            record["median_rank"] = {"text": self.median_rank[0], "picture": self.median_rank[1]}
        return record


@dataclass(frozen=True)
class Detail:
    """Scores and annotations of the n pictures and c classes that were scored, for plots and error examples.

    Attributes:
        scores: ``[n, c]``.
        targets: ``[n, c]``.
        rows: ``[n]``, places of the pictures in the benchmark.
        known: ``[n, c]``, true where an annotator has checked.
    """

    scores: NDArray[np.float32]
    targets: NDArray[np.bool_]
    names: tuple[str, ...]
    rows: NDArray[np.int64]
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class ThresholdChoice:
    """How to choose thresholds: ``given``, fitted, or else the system's own, if it has any.

    Attributes:
        validation: Pictures to fit thresholds on.
        on_test: Fit them on the test set itself, as the papers did; the figures are labeled so.
    """

    given: float | None = None
    validation: Benchmark | None = None
    on_test: bool = False
    per_class: bool = False

    def __post_init__(self) -> None:
        if sum((self.given is not None, self.validation is not None, self.on_test)) > 1:
            raise UsageError(
                "give a threshold, or pictures to fit it on, or tune it on the test set: only one of these"
            )


def evaluate_tagging(
    system: System,
    benchmark: Benchmark,
    folder: Path,
    choice: ThresholdChoice | None = None,
    *,
    rounds: int = 0,
    standardize: bool = False,
    advance: Advance = lambda: None,
) -> tuple[Evaluation, Detail]:
    """Score a tagging benchmark and compute all figures; scores are cached in ``folder``.

    Args:
        rounds: Bootstrap resamples for the interval of mean average precision; 0: no interval.
        standardize: Standardize scores per class and per picture first.

    Raises:
        UsageError: If no picture could be read, or no class has a positive.
    """
    scored = score_benchmark(system, benchmark, folder, advance)
    assert benchmark.targets is not None
    columns = np.flatnonzero(~np.isnan(scored.scores[scored.read]).all(0))
    rows = np.flatnonzero(scored.read)
    values = scored.scores[np.ix_(rows, columns)]
    values = standardized(values) if standardize else values
    targets = benchmark.targets[np.ix_(rows, columns)]
    known = np.ones_like(targets) if benchmark.known is None else benchmark.known[np.ix_(rows, columns)]
    names = tuple(benchmark.texts[column] for column in columns)
    detail = Detail(values, targets, names, rows, known)
    choice = choice or ThresholdChoice()
    thresholds = _thresholds(system, benchmark, scored, columns, detail, choice, folder, standardize)
    kinds = benchmark.kinds or kinds_of(benchmark.texts, default_vocabulary(), benchmark.synonyms)
    figures, classes = tagging_figures(
        values, targets, names, thresholds=thresholds, kinds=kinds, known=known, rounds=rounds
    )
    notes = [*benchmark.notes, *_left_out(scored, benchmark)]
    if standardize:
        notes.append("scores are standardized per class and per picture, over all pictures of the benchmark")
    title = f"{system.title}, standardized" if standardize else system.title
    evaluation = Evaluation(
        title, system.paradigm, benchmark.key, benchmark.title, figures, tuple(classes),
        failures=scored.failures, unscored=scored.unscored, notes=tuple(notes),
    )  # fmt: skip
    return evaluation, detail


def _thresholds(
    system: System,
    benchmark: Benchmark,
    scored: Scored,
    columns: NDArray[np.int64],
    detail: Detail,
    choice: ThresholdChoice,
    folder: Path,
    standardize: bool,
) -> Thresholds | None:
    if system.paradigm == "captioning" and not standardize:
        return Thresholds(0.5, "captions")  # A caption names a category or does not: there is nothing to fit.
    if choice.given is not None:
        return Thresholds(choice.given, "given")
    if choice.on_test:
        return fit_thresholds(detail.scores, detail.targets, "test", choice.per_class, detail.known)
    if (validation := choice.validation) is not None:
        if validation.texts != benchmark.texts:
            raise UsageError(
                f"{validation.title} has other classes than the benchmark; thresholds are fitted on the same ones"
            )
        held_out = score_benchmark(system, validation, folder)
        assert validation.targets is not None
        part = np.ix_(np.flatnonzero(held_out.read), columns)
        scores = standardized(held_out.scores[part]) if standardize else held_out.scores[part]
        known = None if validation.known is None else validation.known[part]
        return fit_thresholds(scores, validation.targets[part], "validation", choice.per_class, known)
    if scored.thresholds is not None and not standardize:
        return Thresholds(scored.thresholds[columns], "model")
    return None


def _left_out(scored: Scored, benchmark: Benchmark) -> list[str]:
    notes = []
    if scored.failures:
        first = scored.failures[0].message
        notes.append(
            f"left out, as they could not be read: {len(scored.failures):,} of "
            f"{counted(len(benchmark.pictures), 'picture')}, the first: {first}"
        )
    if scored.unscored:
        notes.append(
            f"left out, as it cannot score them: {len(scored.unscored)} of {len(benchmark.names)} classes: "
            f"{', '.join(scored.unscored)}"
        )
    if empty := benchmark.empty_classes:
        are = "class is" if len(empty) == 1 else "classes are"
        notes.append(
            f"{len(empty)} {are} true of no picture, left out of means over classes, and 0 in the papers' mean average "
            f"precision: {listed(empty, 20)}"
        )
    return notes


def evaluate_captioning(
    system: System, benchmark: Benchmark, folder: Path, advance: Advance = lambda: None, meteor: Metric | None = None
) -> Evaluation:
    """Write captions, cached in ``folder``, and score them; where categories are annotated, also against these.

    Args:
        benchmark: A benchmark with captions.
        meteor: Computes METEOR; ``None``: leave it out.

    Raises:
        UsageError: If no picture could be read, or the benchmark has no captions.
    """
    if not benchmark.captions:
        raise UsageError(f"{benchmark.title} has no captions to compare with")
    written, failures = caption_benchmark(system, benchmark, folder, advance)
    rows = [row for row, caption in enumerate(written) if caption is not None]
    if not rows:
        raise UsageError(f"{benchmark.title}: no picture could be read ({len(written):,} tried)")
    captions = [caption for caption in written if caption is not None]
    figures = score_captions(captions, [benchmark.captions[row] for row in rows], meteor)
    tags = None
    if benchmark.targets is not None:
        named = CategoryParser(benchmark.texts, benchmark.synonyms, default_vocabulary())(captions)
        tags = caption_tag_figures(named, benchmark.targets[rows])
    notes = [*benchmark.notes]
    if failures:
        count = counted(len(written), "picture")
        notes.append(f"left out, as they could not be read: {len(failures):,} of {count}")
    return Evaluation(
        system.title, system.paradigm, benchmark.key, benchmark.title, captions=figures, caption_tags=tags,
        failures=tuple(failures), notes=tuple(notes),
    )  # fmt: skip


@dataclass(frozen=True)
class TagIndicators:
    """Tags as additional evidence that a picture and a text match (Tag2Text's appendix on retrieval).

    Attributes:
        tagger: Predicts the tags of pictures.
        weight: Added to the similarity for each tag that picture and text share; choose it on other pictures.
    """

    tagger: ModelSystem
    weight: float


def evaluate_retrieval(
    system: System,
    benchmark: Benchmark,
    folder: Path,
    advance: Advance = lambda: None,
    tags: TagIndicators | None = None,
) -> Evaluation:
    """Compare every picture with every caption, and rank both ways; scores are cached in ``folder``.

    Args:
        benchmark: A benchmark with captions.

    Raises:
        UsageError: If the system compares no texts, or no picture could be read.
    """
    set_texts = getattr(system, "set_texts", None)
    if set_texts is None:
        raise UsageError(f"{system.title} does not compare pictures with whole texts")
    texts = tuple(text for captions in benchmark.captions for text in captions)
    owner = np.repeat(np.arange(len(benchmark.captions)), [len(captions) for captions in benchmark.captions])
    scored = score_benchmark(system, _with_classes(benchmark, texts), folder, advance, set_texts)
    rows = np.flatnonzero(scored.read)
    columns = np.flatnonzero(np.isin(owner, rows))
    place = np.full(len(benchmark.pictures), -1)
    place[rows] = np.arange(len(rows))
    values, owners = scored.scores[np.ix_(rows, columns)], place[owner[columns]]
    title = system.title
    if tags is not None:
        shared = _shared_tags(tags.tagger, benchmark, [texts[column] for column in columns], folder)[rows]
        values, title = values + np.float32(tags.weight) * shared, f"{title} + {tags.weight:g} x shared tags"
    return Evaluation(
        title, system.paradigm, benchmark.key, benchmark.title,
        retrieval=recall_at_k(values, owners), median_rank=median_ranks(values, owners),
        failures=scored.failures,
        notes=(*benchmark.notes, *(_left_out(scored, benchmark)[:1] if scored.failures else ())),
    )  # fmt: skip


def _shared_tags(tagger: ModelSystem, benchmark: Benchmark, texts: Sequence[str], folder: Path) -> NDArray[np.float32]:
    """Count how many of a picture's predicted tags a text names, ``[pictures, texts]``."""
    names = tuple(dict.fromkeys(tag.name for tag in tagger.recognizer.vocabulary))
    scored = score_benchmark(tagger, _with_classes(benchmark, names), folder)
    assert scored.thresholds is not None
    predicted = np.nan_to_num(scored.scores) >= scored.thresholds
    named = CategoryParser(names, vocabulary=tagger.recognizer.vocabulary)(texts)
    shared: NDArray[np.float32] = predicted.astype(np.float32) @ named.T.astype(np.float32)
    return shared


def _with_classes(benchmark: Benchmark, names: tuple[str, ...]) -> Benchmark:
    targets = np.zeros((len(benchmark.pictures), len(names)), np.bool_)
    return replace(benchmark, task="tagging", names=names, texts=names, targets=targets)
