"""Thresholds with the best F1: one for all classes, or one per class, shrunk towards the common one.

Only listed tags are positives; whatever is not listed counts as absent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytag.errors import UsageError
from anytag.evaluation.ranking import RankedScores, check_scores, threshold_below
from anytag.foundations.log_odds import log_odds, sigmoid


@dataclass(frozen=True, slots=True)
class FittedThresholds:
    """Scores at or above which a class is predicted.

    Attributes:
        values: ``[C]``, the thresholds to use.
        overall: The one threshold that is best for all classes together.
        own: ``[C]``, the best threshold of each class alone; NaN without positives.
        positives: ``[C]``, number of positives.
        shrinkage: Number of positives at which a class's own threshold and the overall one have equal weight.
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
    """Find the one threshold with the best micro-F1 over all classes, and that F1.

    Args:
        scores: ``[N, C]``, comparable between classes.
        targets: ``[N, C]``, true for positives.
    """
    values, truth = np.asarray(scores).ravel(), np.asarray(targets).ravel()
    order = np.argsort(-values)
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, hits.size + 1) + hits[-1])
    best = int(f1.argmax())
    return float(values[order[best]]), float(f1[best])


def best_thresholds(scores: ArrayLike, targets: ArrayLike, *, shrinkage: float | None = None) -> FittedThresholds:
    """Find the threshold with the best F1 for every class, shrunk towards a common one where positives are few.

    The best threshold of a class with three positives would be chance. So it is averaged, in log-odds, with the
    common one, with weights ``positives`` and ``shrinkage``. A class with ``shrinkage`` positives goes half way; one
    without positives takes the common threshold.

    The best shrinkage depends on how alike the classes are, which differs between models; by default it is the value
    whose thresholds do best on held-out fifths of the pictures.

    A class's own threshold lies half way, in log-odds, between the lowest score that should pass and the next
    below it; of thresholds with equal F1 the highest is taken. The common one maximizes the mean F1 of the classes
    that have positives.

    Use pictures that the model was not trained on, and report results on yet others: thresholds chosen on a test
    set flatter it.

    Args:
        scores: ``[N, C]``, probabilities in [0, 1].
        targets: ``[N, C]``, true or 1 for positives.
        shrinkage: Number of positives at which both have equal weight; ``None``: chosen by cross-validation, the same
            on every call.

    Raises:
        UsageError: If the shapes differ, scores leave [0, 1], no class has a positive, or shrinkage is negative.
    """
    checked, truth = check_scores(scores, targets)
    values = checked.astype(np.float64)
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
    return FittedThresholds(_shrink(own, overall, positives, shrinkage), overall, own, positives, shrinkage)


def _fit(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Every class's own best threshold ``[C]``, NaN without positives, and the best for all."""
    ranked = RankedScores(values, truth)
    own = np.full(values.shape[1], np.nan)
    sum_f1 = np.zeros(len(_GRID))
    for column in np.flatnonzero(ranked.positives):
        levels, predicted, correct = ranked.curve(int(column))
        f1 = 2 * correct / (predicted + ranked.positives[column])
        own[column] = threshold_below(levels, int(f1.argmax()))
        # The operating point of a threshold is the last level at or above it; if there is none, nothing is predicted.
        points = len(levels) - np.searchsorted(levels[::-1], _GRID)
        sum_f1 += np.append(0.0, f1)[points]
    # The middle of the best stretch: its ends depend on single pictures.
    best = np.flatnonzero(sum_f1 >= sum_f1.max() - 1e-9)
    return own, float(_GRID[best[len(best) // 2]])


def _shrink(
    own: NDArray[np.float64], overall: float, positives: NDArray[np.int64], shrinkage: float
) -> NDArray[np.float64]:
    weight = np.where(positives > 0, positives / np.maximum(positives + shrinkage, 1), 0.0)
    odds = weight * np.nan_to_num(log_odds(own, _EDGE)) + (1 - weight) * log_odds(overall, _EDGE)
    return np.where(weight == 1, own, sigmoid(odds))  # exact where nothing is averaged


def _choose_shrinkage(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """The shrinkage with the highest mean F1 on held-out pictures; counts are summed over the folds first."""
    part = np.random.default_rng(0).permutation(len(values)) % _FOLDS  # shuffled: sets are often sorted
    correct, predicted = np.zeros((2, len(_SHRINKAGES), values.shape[1]))
    for fold in range(_FOLDS):
        held, rest = part == fold, part != fold
        if not truth[rest].any():
            continue
        own, overall = _fit(values[rest], truth[rest])
        positives = truth[rest].sum(axis=0, dtype=np.int64)
        for place, shrinkage in enumerate(_SHRINKAGES):
            passed = values[held] >= _shrink(own, overall, positives, shrinkage)
            correct[place] += (passed & truth[held]).sum(axis=0)
            predicted[place] += passed.sum(axis=0)
    count = truth.sum(axis=0)
    f1 = (2 * correct / np.maximum(predicted + count, 1))[:, count > 0].mean(axis=1)
    # Of equally good ones the strongest: it varies least from sample to sample.
    return _SHRINKAGES[int(np.flatnonzero(f1 >= f1.max() - 1e-12)[-1])]
