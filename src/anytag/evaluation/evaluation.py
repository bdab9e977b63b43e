"""From what a system says of a benchmark to everything that is reported."""

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
from anytag.evaluation.category_map import kinds_of
from anytag.evaluation.figures import (
    ClassFigures,
    TaggingFigures,
    Thresholds,
    fit_thresholds,
    tagging_figures,
)
from anytag.evaluation.ranking import standardized
from anytag.evaluation.retrieval import RetrievalRecall, median_ranks, recall_at_k
from anytag.evaluation.scoring import Scored, caption_benchmark, score_benchmark
from anytag.evaluation.systems import ModelSystem, System, default_vocabulary
from anytag.foundations.wording import counted, shown
from anytag.recognition import Failure

Advance = Callable[[], None]


@dataclass(frozen=True)
class Evaluation:
    """One system on one benchmark.

    Attributes:
        system: What was evaluated.
        paradigm: How it recognizes.
        benchmark: Key of the benchmark.
        title: Title of the benchmark.
        tagging: Figures of a tagging benchmark.
        classes: The same, class by class.
        captions: Figures of captions.
        caption_tags: What captions say of annotated tags.
        retrieval: Recall both ways.
        median_rank: Of texts for pictures, and of pictures for texts, from 1.
        failures: Pictures that could not be read; they are left out and counted.
        unscored: Classes that the system cannot score; figures leave them out.
        notes: What a reader must know.
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
        """For ``results.json``."""
        record: dict[str, Any] = {
            "system": self.system,
            "paradigm": self.paradigm,
            "benchmark": self.benchmark,
            "title": self.title,
            "failed_pictures": len(self.failures),
            "unscored_classes": list(self.unscored),
            "notes": list(self.notes),
        }
        if self.tagging:
            record["tagging"] = self.tagging.to_json()
        for name, part in (
            ("captions", self.captions),
            ("caption_tags", self.caption_tags),
            ("retrieval", self.retrieval),
        ):
            if part is not None:
                record[name] = asdict(part)
        if self.median_rank:
            record["median_rank"] = {"text": self.median_rank[0], "picture": self.median_rank[1]}
        return record


@dataclass(frozen=True)
class Detail:
    """What a report shows beside the figures.

    Attributes:
        scores: ``[n, c]`` of the pictures and classes that were scored.
        targets: ``[n, c]``.
        names: The c classes.
        rows: ``[n]``, places of the pictures in the benchmark.
        known: ``[n, c]``, true where a human has looked; ``None``: everywhere.
    """

    scores: NDArray[np.float32]
    targets: NDArray[np.bool_]
    names: tuple[str, ...]
    rows: NDArray[np.int64]
    known: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class ThresholdChoice:
    """Where thresholds come from.

    Attributes:
        given: One for all classes; ``None``: not given.
        validation: Pictures to fit them on.
        on_test: Fit them on the test set itself, as the papers did; everything says so.
        per_class: Fit one for each class.
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
    """Score a tagging benchmark and measure everything.

    Args:
        system: What is evaluated.
        benchmark: A tagging benchmark.
        folder: Where scores are kept.
        choice: Where thresholds come from; ``None``: the system's own, if it has any.
        rounds: Bootstrap samples for the interval of mean average precision; 0: none.
        standardize: Bring scores to mean 0 and deviation 1 per class and per picture first.
        advance: Called after every picture.

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
    known = None if benchmark.known is None else benchmark.known[np.ix_(rows, columns)]
    names = tuple(benchmark.texts[column] for column in columns)
    thresholds = _thresholds(
        system, scored, columns, values, targets, known, choice, folder, standardize, benchmark.texts
    )
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
    return evaluation, Detail(values, targets, names, rows, known)


def _thresholds(
    system: System,
    scored: Scored,
    columns: NDArray[np.int64],
    values: NDArray[np.float32],
    targets: NDArray[np.bool_],
    known: NDArray[np.bool_] | None,
    choice: ThresholdChoice | None,
    folder: Path,
    standardize: bool,
    texts: Sequence[str],
) -> Thresholds | None:
    choice = choice or ThresholdChoice()
    if system.paradigm == "captioning" and not standardize:
        return Thresholds(0.5, "captions")  # They name a category or do not: there is nothing to fit.
    if choice.given is not None:
        return Thresholds(choice.given, "given")
    if choice.on_test:
        return fit_thresholds(values, targets, "test", choice.per_class, known)
    if choice.validation is not None:
        fitted_on = choice.validation
        if tuple(fitted_on.texts) != tuple(texts):
            raise UsageError(
                f"{fitted_on.title} has other classes than the benchmark; thresholds are fitted on the same ones"
            )
        on_them = score_benchmark(system, fitted_on, folder)
        assert fitted_on.targets is not None
        part = np.ix_(np.flatnonzero(on_them.read), columns)
        held_out = standardized(on_them.scores[part]) if standardize else on_them.scores[part]
        looked_at = None if fitted_on.known is None else fitted_on.known[part]
        return fit_thresholds(held_out, fitted_on.targets[part], "validation", choice.per_class, looked_at)
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
            f"precision: {shown(empty, 20)}"
        )
    return notes


def evaluate_captioning(
    system: System, benchmark: Benchmark, folder: Path, advance: Advance = lambda: None, meteor: Metric | None = None
) -> Evaluation:
    """Write captions and measure them; where categories are annotated, also what the captions say of these.

    Args:
        system: Writes them.
        benchmark: Has human ones.
        folder: Where captions are kept.
        advance: Called after every picture.
        meteor: Computes METEOR, if that is wanted, too.

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
    """Tags that say which picture and text belong together (Tag2Text's appendix on retrieval).

    Attributes:
        tagger: Finds tags in pictures.
        weight: What a tag that picture and text share counts beside their similarity; to be chosen on other pictures.
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
    """Compare every picture with every caption, and rank both ways.

    Args:
        system: Compares pictures with texts.
        benchmark: Pictures with their captions.
        folder: Where scores are kept.
        advance: Called after every picture.
        tags: Count shared tags, too.

    Raises:
        UsageError: If the system compares no texts, or no picture could be read.
    """
    ask = getattr(system, "ask_texts", None)
    if ask is None:
        raise UsageError(f"{system.title} does not compare pictures with whole texts")
    texts = tuple(text for captions in benchmark.captions for text in captions)
    owner = np.repeat(np.arange(len(benchmark.captions)), [len(captions) for captions in benchmark.captions])
    as_classes = replace(
        benchmark,
        task="tagging",
        names=texts,
        texts=texts,
        targets=np.zeros((len(benchmark.pictures), len(texts)), np.bool_),
    )
    scored = score_benchmark(_Texts(system, ask), as_classes, folder, advance)
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
    """``[pictures, texts]``, how many of the tags found in a picture a text names."""
    names = tuple(dict.fromkeys(tag.name for tag in tagger.recognizer.vocabulary))
    as_tags = replace(
        benchmark,
        task="tagging",
        names=names,
        texts=names,
        targets=np.zeros((len(benchmark.pictures), len(names)), np.bool_),
    )
    scored = score_benchmark(tagger, as_tags, folder)
    assert scored.thresholds is not None
    found = np.nan_to_num(scored.scores) >= scored.thresholds
    named = CategoryParser(names, vocabulary=tagger.recognizer.vocabulary)(texts)
    shared: NDArray[np.float32] = found.astype(np.float32) @ named.T.astype(np.float32)
    return shared


class _Texts:
    """A system that is asked for whole texts where categories are asked for."""

    def __init__(self, system: System, ask: Callable[[Sequence[str]], None]):
        self._system, self._ask = system, ask
        self.title, self.paradigm = system.title, system.paradigm
        self.identity = f"texts {system.identity}"
        self.parser: CategoryParser | None = None

    def ask(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        self._ask(names)
        return []

    def scores(self, pictures: Any) -> Any:
        return self._system.scores(pictures)

    def captions(self, pictures: Any) -> Any:
        return self._system.captions(pictures)

    def thresholds(self) -> None:
        return None
