"""Thresholds with the best F1: one for all classes, or one a class that leans on the common one.

Only listed tags are positives; whatever is not listed counts as absent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytag.errors import UsageError
from anytag.evaluation.ranking import between, check_scores, operating_points
from anytag.foundations.log_odds import log_odds, sigmoid


@dataclass(frozen=True, slots=True)
class FittedThresholds:
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


def best_thresholds(scores: ArrayLike, targets: ArrayLike, *, shrinkage: float | None = None) -> FittedThresholds:
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
    positives = truth.sum(axis=0)
    own = np.full(values.shape[1], np.nan)
    sum_f1 = np.zeros(len(_GRID))
    for column in np.flatnonzero(positives):
        levels, found, right = operating_points(values[:, column], truth[:, column])
        f1 = 2 * right / (found + positives[column])
        own[column] = between(levels, int(f1.argmax()))
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
