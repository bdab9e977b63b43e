"""Average precision, precision, recall and F1 from scores that are sorted once.

57,224 pictures by 214 classes (OpenImages-common, RAM section 4.1) are ranked in well under a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytag.errors import UsageError
from anytag.foundations.log_odds import log_odds, sigmoid
from anytag.foundations.wording import counted

#: Common thresholds that are tried, evenly spaced over the ranks of the highest scores and of the others.
_CANDIDATES, _FURTHER = 1000, 200

#: Keeps log-odds finite.
_EDGE = 1e-12


@dataclass(frozen=True, slots=True)
class Counts:
    """Prediction counts per class at a threshold.

    Attributes:
        predicted: ``[..., C]``, pictures that score at or above the threshold.
        correct: ``[..., C]``, true positives.
        positives: ``[C]``, all positives.
    """

    predicted: NDArray[np.int64]
    correct: NDArray[np.int64]
    positives: NDArray[np.int64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """Per class; 0 where nothing is predicted."""
        return np.asarray(self.correct / np.maximum(self.predicted, 1), np.float64)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Per class; NaN without positives."""
        values = self.correct / np.maximum(self.positives, 1)
        return np.asarray(np.where(self.positives > 0, values, np.nan), np.float64)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Per class; NaN without positives."""
        values = 2 * self.correct / np.maximum(self.predicted + self.positives, 1)
        return np.asarray(np.where(self.positives > 0, values, np.nan), np.float64)

    @property
    def micro(self) -> tuple[float, float, float]:
        """Precision, recall and F1 over all classes together."""
        correct, predicted, positives = (int(c.sum()) for c in (self.correct, self.predicted, self.positives))
        f1 = 2 * correct / max(predicted + positives, 1)
        return correct / max(predicted, 1), correct / max(positives, 1), f1

    def of(self, columns: NDArray[np.int64]) -> Counts:
        """Select classes."""
        return Counts(self.predicted[..., columns], self.correct[..., columns], self.positives[columns])


def check_scores(scores: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Return both as ``[N, C]`` arrays; scores keep their precision.

    Raises:
        UsageError: If the shapes differ or a score is NaN.
    """
    values, truth = np.asarray(scores), np.asarray(targets)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    if values.ndim != 2 or truth.ndim != 2 or not values.size:
        raise UsageError(f"scores {values.shape} and annotations {truth.shape} must both be [pictures, classes]")
    if len(values) != len(truth):
        more, fewer = ("scores", "annotations") if len(values) > len(truth) else ("annotations", "scores")
        raise UsageError(
            f"there are {more} of {counted(max(len(values), len(truth)), 'picture')} but {fewer} of "
            f"{min(len(values), len(truth)):,}; both must be of the same pictures, in the same order"
        )
    if values.shape != truth.shape:
        raise UsageError(
            f"there are scores of {counted(values.shape[1], 'class')} but annotations of {truth.shape[1]:,}"
        )
    if np.isnan(values).any():
        picture, column = (int(place) for place in np.argwhere(np.isnan(values))[0])
        raise UsageError(f"the score of picture {picture} for class {column} is not a number; check the model's output")
    return values, truth.astype(np.bool_)


def average_precision(scores: ArrayLike, targets: ArrayLike) -> float:
    """Compute the area under the precision-recall curve as a sum over recall steps, without interpolation.

    ``AP = sum_k (R_k - R_(k-1)) P_k`` over the distinct scores. Pictures with equal scores enter together, so the
    result does not depend on the order of the pictures; without equal scores it is the official ``get_mAP``
    and the mean over the positives of the precision at their rank.

    Args:
        scores: ``[N]``, on any monotone scale.
        targets: ``[N]``, true or 1 for positives.

    Returns:
        In [0, 1]; NaN without positives.

    Raises:
        UsageError: If the shapes differ or a score is NaN.
    """
    return float(average_precisions(np.atleast_1d(scores)[:, None], np.atleast_1d(targets)[:, None])[0])


def average_precisions(scores: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """Compute :func:`average_precision` for every class: ``[N, C]`` each to ``[C]``."""
    return RankedScores(scores, targets).average_precisions()


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


class RankedScores:
    """Scores and annotations, sorted by falling score within each class.

    Args:
        scores: ``[N, C]``, on any monotone scale.
        targets: ``[N, C]``, true for positives.

    Attributes:
        positives: ``[C]``, number of positives.

    Raises:
        UsageError: If the shapes differ or a score is NaN.
    """

    def __init__(self, scores: ArrayLike, targets: ArrayLike):
        values, truth = check_scores(scores, targets)
        columns = np.ascontiguousarray(values.T)
        order = np.argsort(columns, axis=1)[:, ::-1]
        self._falling = np.take_along_axis(columns, order, 1)
        self._hits = np.cumsum(np.take_along_axis(np.ascontiguousarray(truth.T), order, 1), axis=1, dtype=np.int32)
        self.positives: NDArray[np.int64] = truth.sum(0, dtype=np.int64)
        self._classes, self._pictures = self._falling.shape

    def curve(self, column: int) -> tuple[NDArray[np.floating], NDArray[np.int64], NDArray[np.int64]]:
        """Return the operating points of one class, from the strictest to the loosest.

        Pictures with equal scores pass a threshold together, so there is a point for every distinct score.

        Returns:
            Distinct scores in falling order; how many pictures, and how many positives, reach each of them.
        """
        falling = self._falling[column]
        last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
        return falling[last], last + 1, self._hits[column, last].astype(np.int64)

    def average_precisions(self) -> NDArray[np.float64]:
        """Compute each class's :func:`average_precision`, ``[C]``; NaN without positives."""

        def area(column: int) -> float:
            _, predicted, correct = self.curve(column)
            steps = np.diff(correct, prepend=0)
            return float((steps * correct / predicted).sum() / correct[-1]) if correct[-1] else float("nan")

        return np.array([area(column) for column in range(self._classes)])

    def counts(self, thresholds: ArrayLike) -> Counts:
        """Count what reaches a threshold: a number for all classes, ``[C]``, or ``[K, C]``."""
        limits = np.asarray(thresholds, np.float64)
        limits = np.broadcast_to(limits, (*limits.shape[:-1], self._classes) if limits.ndim else (self._classes,))
        predicted = np.empty(limits.shape, np.int64)
        for column in range(self._classes):
            rising = self._falling[column, ::-1]
            predicted[..., column] = self._pictures - np.searchsorted(rising, limits[..., column], "left")
        hits = self._hits[np.arange(self._classes), np.maximum(predicted, 1) - 1]
        return Counts(predicted, np.where(predicted > 0, hits, 0).astype(np.int64), self.positives)

    def best_common(self) -> tuple[float, float]:
        """Find the one threshold with the best F1 as the papers define it, and that F1.

        That F1 is the harmonic mean of macro precision and macro recall (Tag2Text, table 2) over classes with
        positives. 1,000 candidates are spread evenly over the ranks of the highest scores, ten times as many as there
        are positives, and 200 over the others.
        """
        known = np.flatnonzero(self.positives)
        if not len(known):
            raise UsageError("no class has a positive, so no threshold can be chosen; check the annotations' names")
        pooled = np.sort(self._falling[known], axis=None)
        pooled = pooled[np.isfinite(pooled)]
        # The best threshold seldom lets more pass than ten times as many as there are positives.
        surest = pooled.size - min(pooled.size, 10 * int(self.positives.sum()))
        ranks = (np.linspace(surest, pooled.size - 1, _CANDIDATES), np.linspace(0, surest, _FURTHER))
        candidates = np.unique(pooled[np.concatenate(ranks).astype(np.int64)])
        counts = self.counts(candidates[:, None]).of(known)
        precision, recall = counts.precision.mean(-1), counts.recall.mean(-1)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(np.flatnonzero(f1 >= f1.max())[-1])
        return float(candidates[best]), float(f1[best])

    def best_own(self) -> NDArray[np.float64]:
        """Find the threshold with the best F1 for each class, ``[C]``; infinite without positives.

        It lies half way, in log-odds for probabilities, between the lowest score that should pass and the next below
        it; of thresholds with equal F1 the highest is taken.
        """
        best = np.full(self._classes, np.inf)
        for column in np.flatnonzero(self.positives):
            levels, predicted, correct = self.curve(int(column))
            best[column] = _threshold_below(levels, int((2 * correct / (predicted + self.positives[column])).argmax()))
        return best


def _threshold_below(levels: NDArray[np.floating], place: int) -> float:
    """Return a threshold that ``levels[place]`` reaches and the next lower level does not."""
    here = float(levels[place])
    if place + 1 == len(levels):
        return here
    below = float(levels[place + 1])
    if below >= 0 and here <= 1:  # Probabilities: half way in log-odds.
        middle = float(sigmoid((log_odds(here, _EDGE) + log_odds(below, _EDGE)) / 2))
    else:
        middle = (here + below) / 2
    return middle if below < middle <= here else here


def standardized(scores: ArrayLike) -> NDArray[np.float32]:
    """Standardize the scores of every class, then of every picture, to mean 0 and deviation 1.

    A prompt that fits all pictures no longer outranks the others, nor does a picture that fits all prompts. It needs
    no annotations, and is the stronger form of a CLIP baseline (SPARC, Miller et al., 2025, section 3).

    Args:
        scores: ``[N, C]``, any scale; convert probabilities to log-odds first if they should be.
    """
    values = np.asarray(scores, np.float64)
    for axis in (0, 1):
        spread = values.std(axis, keepdims=True)
        values = (values - values.mean(axis, keepdims=True)) / np.where(spread > 1e-12, spread, 1.0)
    return values.astype(np.float32)
