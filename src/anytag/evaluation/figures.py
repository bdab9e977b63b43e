"""Every figure of a tagging benchmark, from scores and annotations: what the papers print, and what explains it.

Precision, recall and F1 need a threshold. It is fitted on validation pictures, or given. The papers fitted theirs on
the very pictures that they report (the authors' reply in issue 87 of the official code); that habit is an option
here, and every figure that comes of it says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytag.errors import UsageError
from anytag.evaluation.bootstrap import bootstrap_map
from anytag.evaluation.ranking import Counts, RankedScores, check_scores
from anytag.foundations.wording import counted

#: Where a threshold comes from.
Origin = Literal["given", "model", "captions", "validation", "test"]

#: What stands beside figures whose threshold was fitted on the pictures that are reported.
TUNED_ON_TEST = "threshold tuned on the test set, as in the papers: flattering"


@dataclass(frozen=True)
class Thresholds:
    """Scores from which on a class counts as found.

    Attributes:
        values: One for all classes, or ``[C]``.
        origin: Where they come from.
    """

    values: float | NDArray[np.float64]
    origin: Origin

    @property
    def label(self) -> str:
        """In words, for tables."""
        what = "one threshold" if np.ndim(self.values) == 0 else "a threshold a class"
        return {
            "given": f"{what}, as given",
            "model": "the model's own thresholds",
            "captions": "what captions name",
            "validation": f"{what}, fitted on validation pictures",
            "test": f"{what}; {TUNED_ON_TEST}",
        }[self.origin]


def fit_thresholds(
    scores: ArrayLike, targets: ArrayLike, origin: Origin, per_class: bool = False, known: ArrayLike | None = None
) -> Thresholds:
    """Thresholds with the best F1 on some pictures.

    Args:
        scores: ``[N, C]``.
        targets: ``[N, C]``, true for positives.
        origin: ``validation`` if these pictures are not reported, ``test`` if they are.
        per_class: One for each class rather than one for all. A class without positives takes the common one.
        known: ``[N, C]``, true where a human has looked; what nobody looked at is left out.
    """
    ranked = RankedScores(*_looked_at(*check_scores(scores, targets), known))
    common, _ = ranked.best_common()
    if not per_class:
        return Thresholds(common, origin)
    own = ranked.best_own()
    return Thresholds(np.where(np.isfinite(own), own, common), origin)


@dataclass(frozen=True)
class SetFigures:
    """Precision, recall and F1 of the tags found, each in [0, 1].

    Attributes:
        precision: Mean over classes (macro), as in the papers; one that is never found has precision 0.
        recall: The same.
        f1: Harmonic mean of these two means, as in the papers.
        mean_f1: Mean of the classes' F1.
        micro_precision: Over all pictures and classes together.
        micro_recall: The same.
        micro_f1: The same.
    """

    precision: float
    recall: float
    f1: float
    mean_f1: float
    micro_precision: float
    micro_recall: float
    micro_f1: float


def set_figures(counts: Counts) -> SetFigures:
    """Averages of counts; classes without positives are left out.

    Raises:
        UsageError: If no class has a positive.
    """
    known = np.flatnonzero(counts.wanted)
    if not len(known):
        raise UsageError("no class has a positive, so there is nothing to average; check the annotations' names")
    kept = counts.of(known)
    precision, recall = float(kept.precision.mean()), float(kept.recall.mean())
    harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return SetFigures(precision, recall, harmonic, float(kept.f1.mean()), *kept.micro)


@dataclass(frozen=True)
class TaggingFigures:
    """What is reported of one model on one benchmark.

    Attributes:
        pictures: How many were scored.
        classes: How many classes were scored, duplicates included.
        positives: How many of their (picture, class) pairs are annotated.
        map_papers: Mean average precision over all columns as the official ``get_mAP`` has it: a class that two
            columns stand for counts twice, one without positives counts as 0.
        map_distinct: The same over distinct classes that have positives, as scikit-learn and common sense have it.
        map_interval: 95 % bootstrap interval of ``map_distinct`` over pictures; ``None`` if it was not asked for.
        found: Precision, recall and F1 at ``thresholds``; ``None`` without thresholds.
        thresholds: Where these come from, in words.
        threshold: The common threshold, if there is one.
        best: At the common threshold that is best for these very pictures; labeled as tuned on the test set. ``None``,
            as are the next three, where captions name a class or do not, so that there is nothing to tune.
        own: The same with a threshold a class.
        calibration_error: Expected calibration error of probabilities; ``None`` where scores are none.
        kinds: By kind of tag: mean average precision and recall.
    """

    pictures: int
    classes: int
    positives: int
    map_papers: float
    map_distinct: float
    map_interval: tuple[float, float] | None
    found: SetFigures | None
    thresholds: str | None
    threshold: float | None
    best: SetFigures | None
    best_threshold: float | None
    own: SetFigures | None
    calibration_error: float | None
    kinds: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """For ``results.json``; what was tuned on the test set carries the words that say so."""
        record = asdict(self)
        for name in ("best", "own"):
            if record[name]:
                record[name]["note"] = TUNED_ON_TEST
        return record


@dataclass(frozen=True)
class ClassFigures:
    """One class: how often it is true, how well it is ranked, and what the threshold does to it."""

    name: str
    positives: int
    average_precision: float
    precision: float
    recall: float
    f1: float
    threshold: float


def tagging_figures(
    scores: ArrayLike,
    targets: ArrayLike,
    names: Sequence[str],
    *,
    thresholds: Thresholds | None = None,
    kinds: Mapping[str, str] | None = None,
    known: ArrayLike | None = None,
    rounds: int = 0,
) -> tuple[TaggingFigures, list[ClassFigures]]:
    """All figures of a benchmark.

    Args:
        scores: ``[N, C]``.
        targets: ``[N, C]``, true for positives.
        names: The C classes. One that stands twice is scored twice in ``map_papers``, and merged (its higher score
            counts) everywhere else.
        thresholds: For precision and recall.
        kinds: By name, what sort of thing a class is.
        known: ``[N, C]``, true where a human has looked; what nobody looked at is not scored at all.
        rounds: Bootstrap samples of the pictures for the interval; 0 leaves it out.

    Returns:
        The figures, and those of every distinct class in the order of the names.

    Raises:
        UsageError: If shapes differ, a score is not a number, or no class has a positive.
    """
    values, truth = check_scores(scores, targets)
    if len(names) != values.shape[1]:
        raise UsageError(f"there are scores of {counted(values.shape[1], 'class')} but {counted(len(names), 'name')}")
    values, truth = _looked_at(values, truth, known)
    if not truth.any():
        raise UsageError("no class has a positive, so there is nothing to measure; check the annotations' names")
    distinct, merged_scores, merged_truth = merge_duplicates(values, truth, names)
    ranked = RankedScores(merged_scores, merged_truth)
    precisions = ranked.average_precisions()
    every = precisions if len(distinct) == len(names) else RankedScores(values, truth).average_precisions()
    limits = None if thresholds is None else _merged_limits(thresholds.values, names, distinct)
    said = thresholds is not None and thresholds.origin == "captions"
    best_threshold, _ = (None, None) if said else ranked.best_common()
    used = best_threshold if limits is None else limits
    assert used is not None
    counts = ranked.counts(used)
    judged = np.isfinite(merged_scores)
    calibrated = not said and judged.any() and merged_scores[judged].min() >= 0 and merged_scores.max() <= 1
    figures = TaggingFigures(
        pictures=len(values),
        classes=len(names),
        positives=int(merged_truth.sum()),
        map_papers=float(np.nan_to_num(every).mean()),
        map_distinct=float(np.nanmean(precisions)),
        map_interval=bootstrap_map(merged_scores, merged_truth, rounds) if rounds else None,
        found=None if limits is None else set_figures(counts),
        thresholds=None if thresholds is None else thresholds.label,
        threshold=float(limits) if limits is not None and np.ndim(limits) == 0 else None,
        best=None if best_threshold is None else set_figures(ranked.counts(best_threshold)),
        best_threshold=best_threshold,
        own=None if said else set_figures(ranked.counts(ranked.best_own())),
        calibration_error=calibration_error(merged_scores[judged], merged_truth[judged]) if calibrated else None,
        kinds=_by_kind(distinct, kinds or {}, precisions, counts),
    )
    limit_of = np.broadcast_to(np.asarray(used, np.float64), (len(distinct),))
    rows = [
        ClassFigures(*row)
        for row in zip(
            distinct,
            ranked.wanted.tolist(),
            precisions.tolist(),
            counts.precision.tolist(),
            counts.recall.tolist(),
            counts.f1.tolist(),
            limit_of.tolist(),
            strict=True,
        )
    ]
    return figures, rows


def _looked_at(
    values: NDArray[Any], truth: NDArray[np.bool_], known: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """What nobody has looked at goes behind everything: it is never found, and never comes before a positive."""
    if known is None:
        return values, truth
    looked_at = np.asarray(known, np.bool_)
    return np.where(looked_at, values, -np.inf), truth & looked_at


def merge_duplicates(
    scores: NDArray[Any], targets: NDArray[np.bool_], names: Sequence[str]
) -> tuple[list[str], NDArray[Any], NDArray[np.bool_]]:
    """Columns of one name become one: its highest score, and true where any of them is.

    Returns:
        Distinct names, scores and targets ``[N, distinct]``.
    """
    distinct = list(dict.fromkeys(names))
    if len(distinct) == len(names):
        return distinct, scores, targets
    place = {name: number for number, name in enumerate(distinct)}
    merged = np.full((len(scores), len(distinct)), -np.inf, scores.dtype)
    truth = np.zeros((len(scores), len(distinct)), np.bool_)
    for column, name in enumerate(names):
        here = place[name]
        np.maximum(merged[:, here], scores[:, column], out=merged[:, here])
        truth[:, here] |= targets[:, column]
    return distinct, merged, truth


def _merged_limits(
    values: float | NDArray[np.float64], names: Sequence[str], distinct: Sequence[str]
) -> float | NDArray[np.float64]:
    if np.ndim(values) == 0:
        return float(values)
    limits = np.asarray(values, np.float64)
    if limits.shape == (len(names),):
        lowest: dict[str, float] = {}
        for name, limit in zip(names, limits.tolist(), strict=True):
            lowest[name] = min(limit, lowest.get(name, np.inf))
        return np.array([lowest[name] for name in distinct])
    raise UsageError(f"there are {counted(limits.size, 'threshold')} for {counted(len(names), 'class')}")


def _by_kind(
    names: Sequence[str], kinds: Mapping[str, str], precisions: NDArray[np.float64], counts: Counts
) -> dict[str, dict[str, float]]:
    """Per kind: classes, mean average precision, recall, and the share of classes that are found at all."""
    table = {}
    for kind in dict.fromkeys(kinds.get(name, "") for name in names):
        columns = np.array(
            [c for c, name in enumerate(names) if kinds.get(name, "") == kind and counts.wanted[c]], np.int64
        )
        if not kind or not len(columns):
            continue
        kept = counts.of(columns)
        table[kind] = {
            "classes": float(len(columns)),
            "map": float(precisions[columns].mean()),
            "precision": float(kept.precision.mean()),
            "recall": float(kept.recall.mean()),
            "covered": float((kept.right > 0).mean()),
        }
    return table


def calibration_error(scores: ArrayLike, targets: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error (Naeini et al., 2015): how far probabilities are from how often they come true.

    Pairs of picture and class fall into bins of equal width; the difference of mean score and share of positives is
    averaged over bins by their size.

    Args:
        scores: Any shape, probabilities.
        targets: The same shape, true for positives.
        bins: How many.

    Returns:
        In [0, 1].

    Raises:
        UsageError: If a score is not a probability.
    """
    values, truth = np.asarray(scores).ravel(), np.asarray(targets).ravel()
    if values.shape != truth.shape or not values.size:
        raise UsageError("scores and annotations must be of the same pictures and classes")
    if not (values.min() >= 0 and values.max() <= 1):
        raise UsageError("a calibration error needs probabilities from 0 to 1; these scores are on another scale")
    where = np.minimum((values * bins).astype(np.int64), bins - 1)
    sums = np.bincount(where, values, bins)
    trues = np.bincount(where, truth, bins)
    return float(np.abs(sums - trues).sum() / values.size)
