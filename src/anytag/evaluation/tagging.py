"""How well tags fit: average precision, precision, recall, F1, and the thresholds that they call for.

Definitions are those of the Tag2Text, RAM and RAM++ papers and their code (``ram/utils/metrics.py``), so that
numbers can be compared. Only listed tags are positives; whatever is not listed counts as absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytag.errors import UsageError
from anytag.foundations.log_odds import log_odds, sigmoid

#: What becomes of a class without a positive: left out of the mean, or counted as 0 as the reference does.
Empty = Literal["exclude", "zero"]
Average = Literal["macro", "micro"]


def _matrices(scores: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Both as ``[N, C]`` arrays.

    Raises:
        UsageError: If the shapes differ, are not two-dimensional, there is no row, or a score is NaN.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    if values.ndim != 2 or values.shape != truth.shape or not len(values):
        raise UsageError(f"scores {values.shape} and targets {truth.shape} must both be [pictures, classes]")
    if np.isnan(values).any():
        picture, column = (int(place) for place in np.argwhere(np.isnan(values))[0])
        raise UsageError(f"the score of picture {picture} for class {column} is not a number")
    return values, truth.astype(np.bool_)


def _ranked(scores: NDArray[np.float64], targets: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
    """Operating points of one class from the strictest to the loosest.

    Equal scores pass a threshold together, so there is one point per distinct score.

    Returns:
        Distinct scores in falling order; and how many pictures, and how many positives, reach each of them.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    found = (last + 1).astype(np.float64)
    return falling[last], found, np.cumsum(targets[order])[last].astype(np.float64)


def average_precision(scores: ArrayLike, targets: ArrayLike) -> float:
    """Area under the precision-recall curve as a sum over recall steps, without interpolation.

    ``AP = sum_k (R_k - R_(k-1)) P_k`` over the distinct scores. Pictures with equal scores enter together, so the
    result does not depend on the order of the pictures; without equal scores it is the reference's ``get_mAP``
    and the mean over the positives of the precision at their rank.

    Args:
        scores: ``[N]``, higher is more certain; any monotone scale.
        targets: ``[N]``, true or 1 for positives.

    Returns:
        In [0, 1]; NaN without positives.

    Raises:
        UsageError: If the shapes differ or a score is NaN.
    """
    values, truth = _matrices(np.atleast_1d(scores)[:, None], np.atleast_1d(targets)[:, None])
    return _average_precision(values[:, 0], truth[:, 0])


def _average_precision(scores: NDArray[np.float64], targets: NDArray[np.bool_]) -> float:
    positives = int(targets.sum())
    if not positives:
        return float("nan")
    _, found, right = _ranked(scores, targets)
    return float((np.diff(right, prepend=0.0) * right / found).sum() / positives)


def average_precisions(scores: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """:func:`average_precision` of every class.

    Args:
        scores: ``[N, C]``.
        targets: ``[N, C]``, true or 1 for positives.

    Returns:
        ``[C]`` in [0, 1]; NaN for classes without positives.

    Raises:
        UsageError: If the shapes differ or a score is NaN.
    """
    values, truth = _matrices(scores, targets)
    return np.array([_average_precision(values[:, c], truth[:, c]) for c in range(values.shape[1])])


def mean_average_precision(scores: ArrayLike, targets: ArrayLike, *, empty: Empty = "exclude") -> float:
    """Unweighted mean of the classes' average precisions (mAP).

    Args:
        scores: ``[N, C]``.
        targets: ``[N, C]``, true or 1 for positives.
        empty: Classes without positives: ``"exclude"`` leaves them out, for nothing can be said of them;
            ``"zero"`` counts them as 0, as the reference's ``get_mAP``.

    Returns:
        In [0, 1]; the papers print it times 100.

    Raises:
        UsageError: If the shapes differ, a score is NaN, or no class has a positive.
    """
    return _mean(average_precisions(scores, targets), empty)


def _mean(values: NDArray[np.float64], empty: Empty) -> float:
    """Mean over classes, those without positives being NaN."""
    if empty not in ("exclude", "zero"):
        raise UsageError(f"empty is {empty!r}; use 'exclude' or 'zero'")
    if np.isnan(values).all():
        raise UsageError("no class has a positive, so there is nothing to average; check the annotations' names")
    return float(np.nan_to_num(values).mean() if empty == "zero" else np.nanmean(values))


@dataclass(frozen=True, slots=True)
class PrecisionRecallF1:
    """Precision, recall and their harmonic mean, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def precision_recall_f1(
    predicted: ArrayLike, targets: ArrayLike, *, average: Average = "macro", empty: Empty = "exclude"
) -> PrecisionRecallF1:
    """Precision, recall and F1 of sets of tags.

    Macro, as in the papers: precision and recall are means over the classes, and F1 is the harmonic mean of
    those two means (not the mean of the classes' F1). A class that is never predicted has precision 0.

    Micro: everything is counted over all pictures and classes together.

    Args:
        predicted: ``[N, C]``, true where the tag was given.
        targets: ``[N, C]``, true where it holds. A class that two columns stand for must be merged beforehand.
        average: ``"macro"`` or ``"micro"``.
        empty: Macro: classes without positives are left out, or count as recall 0 and precision 0 (the
            reference's ``get_PR``). No difference where every class has a positive, as in the papers' sets.

    Raises:
        UsageError: If the shapes differ or, for macro, no class has a positive.
    """
    given, truth = _matrices(predicted, targets)
    right = (given.astype(np.bool_) & truth).sum(axis=0)
    found, wanted = given.astype(np.bool_).sum(axis=0), truth.sum(axis=0)
    if average == "micro":
        precision, recall = right.sum() / max(found.sum(), 1), right.sum() / max(wanted.sum(), 1)
    elif average == "macro":
        defined = np.where(wanted > 0, 1.0, np.nan)
        precision = _mean(right / np.maximum(found, 1) * defined, empty)
        recall = _mean(right / np.maximum(wanted, 1) * defined, empty)
    else:
        raise UsageError(f"average is {average!r}; use 'macro' or 'micro'")
    total = precision + recall
    return PrecisionRecallF1(float(precision), float(recall), float(2 * precision * recall / total) if total else 0.0)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores at or above which a class counts as found.

    Attributes:
        values: ``[C]``, the thresholds to use.
        overall: The one threshold that is best for all classes together.
        own: ``[C]``, what each class alone would choose; NaN without positives.
        positives: ``[C]``, positives that each class was judged by.
        shrinkage: Number of positives at which a class's own choice and the overall one count alike.
    """

    values: NDArray[np.float64]
    overall: float
    own: NDArray[np.float64]
    positives: NDArray[np.int64]
    shrinkage: float


#: Keeps log-odds finite; far below what float32 scores resolve near 1.
_EDGE = 1e-12

#: Candidates for the one threshold of all classes: 0.001 to 0.999, evenly spaced in log-odds.
_GRID = sigmoid(np.linspace(-np.log(999), np.log(999), 201))

#: Candidates for the shrinkage, from trusting every class to trusting none, and how many parts are held out.
_SHRINKAGES = (0.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 1e3, 1e9)
_FOLDS = 5


def best_common_threshold(scores: ArrayLike, targets: ArrayLike) -> tuple[float, float]:
    """The one threshold with the best micro-F1 over all classes, and that F1.

    Args:
        scores: ``[N, C]``; those of different classes must mean the same.
        targets: ``[N, C]``, true for positives.
    """
    values, truth = np.asarray(scores).ravel(), np.asarray(targets).ravel()
    order = np.argsort(-values)
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, hits.size + 1) + hits[-1])
    best = int(f1.argmax())
    return float(values[order[best]]), float(f1[best])


def best_thresholds(scores: ArrayLike, targets: ArrayLike, *, shrinkage: float | None = None) -> Thresholds:
    """The threshold with the best F1 for every class, drawn towards a common one where there is little evidence.

    A class with three positives would choose by chance. So its own best threshold is averaged, in log-odds, with
    the one that is best for all: with weight ``positives`` for its own and ``shrinkage`` for the common one. A
    class with ``shrinkage`` positives goes half way, one without positives takes the common threshold, one with
    many more keeps its own; there is no cliff between them.

    How much to shrink depends on how alike the classes are, which differs between models; so by default it is
    the value whose thresholds do best on held-out fifths of the pictures.

    The class's own threshold lies half way, in log-odds, between the lowest score that should pass and the next
    below it; of thresholds with equal F1 the highest is taken. The common one maximizes the mean of the F1 of
    the classes that have positives.

    Use scores that the model was not trained on, and report results on yet others: thresholds chosen on a test
    set flatter it.

    Args:
        scores: ``[N, C]``, probabilities in [0, 1].
        targets: ``[N, C]``, true or 1 for positives.
        shrinkage: Number of positives at which both count alike; 0 trusts every class that has a positive;
            ``None``: chosen by cross-validation, the same on every call.

    Raises:
        UsageError: If the shapes differ, scores leave [0, 1], no class has a positive, or shrinkage is negative.
    """
    values, truth = _matrices(scores, targets)
    if values.min() < 0 or values.max() > 1:
        raise UsageError("thresholds need probabilities from 0 to 1; apply the sigmoid function to logits first")
    if shrinkage is not None and not shrinkage >= 0:
        raise UsageError(f"shrinkage is {shrinkage!r}; it must be at least 0")
    if not truth.any():
        raise UsageError("no class has a positive, so no threshold can be chosen; check the annotations' names")
    if shrinkage is None:
        shrinkage = _choose_shrinkage(values, truth)
    own, overall = _fit(values, truth)
    positives = truth.sum(axis=0, dtype=np.int64)
    return Thresholds(_shrink(own, overall, positives, shrinkage), overall, own, positives, shrinkage)


def _fit(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Every class's own best threshold ``[C]``, NaN without positives, and the best for all."""
    positives = truth.sum(axis=0)
    own = np.full(values.shape[1], np.nan)
    sum_f1 = np.zeros(len(_GRID))
    for column in np.flatnonzero(positives):
        levels, found, right = _ranked(values[:, column], truth[:, column])
        f1 = 2 * right / (found + positives[column])
        own[column] = _between(levels, int(f1.argmax()))
        # The operating point of a threshold is the last level at or above it; none: nothing is found.
        points = len(levels) - np.searchsorted(levels[::-1], _GRID)
        sum_f1 += np.append(0.0, f1)[points]
    # The middle of the best stretch, as its ends hang on single pictures.
    best = np.flatnonzero(sum_f1 >= sum_f1.max() - 1e-9)
    return own, float(_GRID[best[len(best) // 2]])


def _shrink(
    own: NDArray[np.float64], overall: float, positives: NDArray[np.int64], shrinkage: float
) -> NDArray[np.float64]:
    """Thresholds ``[C]`` between the classes' own and the common one."""
    weight = np.where(positives > 0, positives / np.maximum(positives + shrinkage, 1), 0.0)
    odds = weight * np.nan_to_num(log_odds(own, _EDGE)) + (1 - weight) * log_odds(overall, _EDGE)
    return np.where(weight == 1, own, sigmoid(odds))  # exact where nothing is averaged


def _choose_shrinkage(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """The shrinkage whose thresholds have the highest mean F1 on pictures held out.

    Hits and errors are summed over the held-out parts before F1 is taken, as a part may hold no positive.
    """
    part = np.random.default_rng(0).permutation(len(values)) % _FOLDS  # shuffled: sets are often sorted
    right, found = np.zeros((2, len(_SHRINKAGES), values.shape[1]))
    for fold in range(_FOLDS):
        held, rest = part == fold, part != fold
        if not truth[rest].any():
            continue
        own, overall = _fit(values[rest], truth[rest])
        positives = truth[rest].sum(axis=0, dtype=np.int64)
        for place, shrinkage in enumerate(_SHRINKAGES):
            predicted = values[held] >= _shrink(own, overall, positives, shrinkage)
            right[place] += (predicted & truth[held]).sum(axis=0)
            found[place] += predicted.sum(axis=0)
    wanted = truth.sum(axis=0)
    f1 = (2 * right / np.maximum(found + wanted, 1))[:, wanted > 0].mean(axis=1)
    # Of equally good ones the strongest: it changes least from sample to sample.
    return _SHRINKAGES[int(np.flatnonzero(f1 >= f1.max() - 1e-12)[-1])]


def _between(levels: NDArray[np.float64], place: int) -> float:
    """A threshold that ``levels[place]`` reaches and the next lower level does not."""
    here = float(levels[place])
    if place + 1 == len(levels):
        return here
    below = float(levels[place + 1])
    middle = float(sigmoid((log_odds(here, _EDGE) + log_odds(below, _EDGE)) / 2))
    return middle if below < middle <= here else here
