"""Metrics of a tagging benchmark: those that the papers print, and those that explain them.

Precision, recall and F1 need a threshold. It is fitted on validation pictures, or given. The papers fitted theirs on
the very pictures that they report (the authors' reply in issue 87 of the official code); that is an option here, and
every figure that results from it is labeled so.
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

Origin = Literal["given", "model", "captions", "validation", "test"]

#: Note on figures whose threshold was fitted on the pictures that are reported.
TUNED_ON_TEST = "threshold tuned on the test set, as in the papers: flattering"


@dataclass(frozen=True)
class Thresholds:
    """Scores at or above which a class is predicted: one for all classes, or ``[C]``."""

    values: float | NDArray[np.float64]
    origin: Origin

    @property
    def label(self) -> str:
        """Description for tables."""
        what = "one threshold" if np.ndim(self.values) == 0 else "one threshold per class"
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
    """Find the thresholds with the best F1.

    Args:
        scores: ``[N, C]``.
        targets: ``[N, C]``, true for positives.
        origin: ``validation`` if these pictures are not reported, ``test`` if they are.
        per_class: One per class rather than one for all. A class without positives takes the common one.
        known: ``[N, C]``, true where an annotator has checked; other pairs are left out.
    """
    ranked = RankedScores(*_only_known(*check_scores(scores, targets), known))
    common, _ = ranked.best_common()
    if not per_class:
        return Thresholds(common, origin)
    own = ranked.best_own()
    return Thresholds(np.where(np.isfinite(own), own, common), origin)


@dataclass(frozen=True)
class SetFigures:
    """Precision, recall and F1 of predicted tags, each in [0, 1].

    Attributes:
        precision: Mean over classes (macro), as in the papers; 0 for a class that is never predicted. So is ``recall``.
        f1: Harmonic mean of these two means, as in the papers.
        mean_f1: Mean of the classes' F1.
        micro_precision: Over all pictures and classes together; so are ``micro_recall`` and ``micro_f1``.
    """

    precision: float
    recall: float
    f1: float
    mean_f1: float
    micro_precision: float
    micro_recall: float
    micro_f1: float


def set_figures(counts: Counts) -> SetFigures:
    """Average counts over the classes that have positives.

    Raises:
        UsageError: If no class has a positive.
    """
    known = np.flatnonzero(counts.positives)
    if not len(known):
        raise UsageError("no class has a positive, so there is nothing to average; check the annotations' names")
    kept = counts.of(known)
    precision, recall = float(kept.precision.mean()), float(kept.recall.mean())
    harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return SetFigures(precision, recall, harmonic, float(kept.f1.mean()), *kept.micro)


@dataclass(frozen=True)
class TaggingFigures:
    """Figures of one model on one benchmark.

    Attributes:
        classes: Number of scored classes, duplicates included.
        positives: Number of annotated (picture, class) pairs.
        map_papers: Mean average precision over all columns, as in the official ``get_mAP``: a class with two columns
            counts twice, one without positives counts as 0.
        map_distinct: Mean average precision over distinct classes that have positives, as in scikit-learn.
        map_interval: 95 % bootstrap interval of ``map_distinct`` over pictures; ``None`` if not requested.
        found: Precision, recall and F1 at ``thresholds``; ``None`` without thresholds.
        thresholds: Where the thresholds come from, in words.
        threshold: The common threshold, if there is one.
        best: At the common threshold that is best for these very pictures; labeled as tuned on the test set. ``None``,
            as are the next three, for captions, which name a class or do not, so that there is nothing to tune.
        own: As ``best``, with one threshold per class.
        calibration_error: Expected calibration error; ``None`` where scores are not probabilities.
        kinds: Mean average precision and recall by kind of tag.
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
        """Return the record for ``results.json``, with a note on what was tuned on the test set."""
        record = asdict(self)
        for name in ("best", "own"):
            if record[name]:
                record[name]["note"] = TUNED_ON_TEST
        return record


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class."""

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
    """Compute all figures of a benchmark.

    Args:
        scores: ``[N, C]``.
        targets: ``[N, C]``, true for positives.
        names: The C classes. A repeated name is scored twice in ``map_papers``, and merged (the higher score counts)
            everywhere else.
        known: ``[N, C]``, true where an annotator has checked; other pairs are not scored.
        rounds: Bootstrap resamples for the interval; 0: no interval.

    Returns:
        The figures, and those of every distinct class in the order of the names.

    Raises:
        UsageError: If shapes differ, a score is not a number, or no class has a positive.
    """
    values, truth = check_scores(scores, targets)
    if len(names) != values.shape[1]:
        raise UsageError(f"there are scores of {counted(values.shape[1], 'class')} but {counted(len(names), 'name')}")
    values, truth = _only_known(values, truth, known)
    if not truth.any():
        raise UsageError("no class has a positive, so there is nothing to measure; check the annotations' names")
    distinct, merged_scores, merged_truth = merge_duplicates(values, truth, names)
    ranked = RankedScores(merged_scores, merged_truth)
    precisions = ranked.average_precisions()
    every = precisions if len(distinct) == len(names) else RankedScores(values, truth).average_precisions()
    limits = None if thresholds is None else _merged_limits(thresholds.values, names, distinct)
    of_captions = thresholds is not None and thresholds.origin == "captions"
    best_threshold, _ = (None, None) if of_captions else ranked.best_common()
    used = best_threshold if limits is None else limits
    assert used is not None
    counts = ranked.counts(used)
    judged = np.isfinite(merged_scores)
    calibrated = not of_captions and judged.any() and merged_scores[judged].min() >= 0 and merged_scores.max() <= 1
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
        own=None if of_captions else set_figures(ranked.counts(ranked.best_own())),
        calibration_error=calibration_error(merged_scores[judged], merged_truth[judged]) if calibrated else None,
        kinds=_by_kind(distinct, kinds or {}, precisions, counts),
    )
    limit_of = np.broadcast_to(np.asarray(used, np.float64), (len(distinct),))
    columns = (ranked.positives, precisions, counts.precision, counts.recall, counts.f1, limit_of)
    return figures, [ClassFigures(*row) for row in zip(distinct, *(c.tolist() for c in columns), strict=True)]


def _only_known(
    values: NDArray[Any], truth: NDArray[np.bool_], known: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Rank unchecked pairs last: they are never predicted, and never come before a positive."""
    if known is None:
        return values, truth
    checked = np.asarray(known, np.bool_)
    return np.where(checked, values, -np.inf), truth & checked


def merge_duplicates(
    scores: NDArray[Any], targets: NDArray[np.bool_], names: Sequence[str]
) -> tuple[list[str], NDArray[Any], NDArray[np.bool_]]:
    """Merge the columns of equal names: the highest score, and true where any of them is."""
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
    """Per kind: classes, mean average precision, precision, recall, and the share of classes ever predicted rightly."""
    table = {}
    for kind in dict.fromkeys(kinds.get(name, "") for name in names):
        columns = np.array(
            [c for c, name in enumerate(names) if kinds.get(name, "") == kind and counts.positives[c]], np.int64
        )
        if not kind or not len(columns):
            continue
        kept = counts.of(columns)
        table[kind] = {
            "classes": float(len(columns)),
            "map": float(precisions[columns].mean()),
            "precision": float(kept.precision.mean()),
            "recall": float(kept.recall.mean()),
            "covered": float((kept.correct > 0).mean()),
        }
    return table


def calibration_error(scores: ArrayLike, targets: ArrayLike, bins: int = 15) -> float:
    """Compute the expected calibration error (Naeini et al., 2015), in [0, 1].

    Pairs of picture and class fall into bins of equal width; the difference of mean score and share of positives is
    averaged over bins by their size.

    Args:
        scores: Probabilities, any shape.
        targets: The same shape, true for positives.

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
