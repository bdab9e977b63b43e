"""Scores of many pictures sorted once, so that every figure over thresholds is a look-up.

57,224 pictures by 214 classes (OpenImages-common, RAM section 4.1) are ranked in well under a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytag.errors import UsageError
from anytag.foundations.log_odds import log_odds, sigmoid
from anytag.foundations.wording import counted

#: How many common thresholds are tried, evenly spaced over the ranks of the surest scores and of the others.
_CANDIDATES, _FURTHER = 1000, 200

#: Keeps log-odds finite.
_EDGE = 1e-12


@dataclass(frozen=True, slots=True)
class Counts:
    """What a threshold lets through, per class.

    Attributes:
        found: ``[..., C]``, pictures at or above the threshold.
        right: ``[..., C]``, how many of these are positives.
        wanted: ``[C]``, positives in all.
    """

    found: NDArray[np.int64]
    right: NDArray[np.int64]
    wanted: NDArray[np.int64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """Per class; 0 where nothing was found."""
        return np.asarray(self.right / np.maximum(self.found, 1), np.float64)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Per class; NaN where there is no positive."""
        return np.asarray(np.where(self.wanted > 0, self.right / np.maximum(self.wanted, 1), np.nan), np.float64)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Per class; NaN where there is no positive."""
        values = 2 * self.right / np.maximum(self.found + self.wanted, 1)
        return np.asarray(np.where(self.wanted > 0, values, np.nan), np.float64)

    @property
    def micro(self) -> tuple[float, float, float]:
        """Precision, recall and F1 over all pictures and classes together."""
        right, found, wanted = int(self.right.sum()), int(self.found.sum()), int(self.wanted.sum())
        return right / max(found, 1), right / max(wanted, 1), 2 * right / max(found + wanted, 1)

    def of(self, columns: NDArray[np.int64]) -> Counts:
        """The counts of some classes."""
        return Counts(self.found[..., columns], self.right[..., columns], self.wanted[columns])


def check_scores(scores: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Both as ``[N, C]`` arrays; scores keep their precision.

    Raises:
        UsageError: If the shapes differ or a score is not a number.
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


def operating_points(
    scores: NDArray[np.floating], targets: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.int64], NDArray[np.int64]]:
    """Operating points of one class, from the strictest to the loosest.

    Pictures with equal scores pass a threshold together, so there is a point for every distinct score.

    Args:
        scores: ``[N]``.
        targets: ``[N]``.

    Returns:
        Distinct scores in falling order; how many pictures, and how many positives, reach each of them.
    """
    order = np.argsort(-scores, kind="stable")
    return _points(scores[order], np.cumsum(targets[order]))


def _points(
    falling: NDArray[np.floating], hits: NDArray[np.integer]
) -> tuple[NDArray[np.floating], NDArray[np.int64], NDArray[np.int64]]:
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    return falling[last], last + 1, hits[last].astype(np.int64)


def average_precision(scores: ArrayLike, targets: ArrayLike) -> float:
    """Area under the precision-recall curve as a sum over recall steps, without interpolation.

    ``AP = sum_k (R_k - R_(k-1)) P_k`` over the distinct scores. Pictures with equal scores enter together, so the
    result does not depend on the order of the pictures; without equal scores it is the official ``get_mAP``
    and the mean over the positives of the precision at their rank.

    Args:
        scores: ``[N]``, higher is more certain; any monotone scale.
        targets: ``[N]``, true or 1 for positives.

    Returns:
        In [0, 1]; NaN without positives.

    Raises:
        UsageError: If the shapes differ or a score is NaN.
    """
    return float(average_precisions(np.atleast_1d(scores)[:, None], np.atleast_1d(targets)[:, None])[0])


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
    values, truth = check_scores(scores, targets)
    return np.array([_area(*operating_points(values[:, c], truth[:, c])[1:]) for c in range(values.shape[1])])


def _area(found: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    """Average precision of operating points; NaN without positives."""
    return float((np.diff(right, prepend=0) * right / found).sum() / right[-1]) if right[-1] else float("nan")


class RankedScores:
    """Scores and what is true, every class sorted from the surest picture down.

    Args:
        scores: ``[N, C]``, higher is surer; any monotone scale.
        targets: ``[N, C]``, true for positives.

    Attributes:
        wanted: ``[C]``, positives of each class.

    Raises:
        UsageError: If the shapes differ or a score is not a number.
    """

    def __init__(self, scores: ArrayLike, targets: ArrayLike):
        values, truth = check_scores(scores, targets)
        columns = np.ascontiguousarray(values.T)
        order = np.argsort(columns, axis=1)[:, ::-1]
        self._falling = np.take_along_axis(columns, order, 1)
        self._hits = np.cumsum(np.take_along_axis(np.ascontiguousarray(truth.T), order, 1), axis=1, dtype=np.int32)
        self.wanted: NDArray[np.int64] = truth.sum(0, dtype=np.int64)

    @property
    def pictures(self) -> int:
        """How many pictures there are."""
        return int(self._falling.shape[1])

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self._falling.shape[0])

    def curve(self, column: int) -> tuple[NDArray[np.floating], NDArray[np.int64], NDArray[np.int64]]:
        """The operating points of one class; see :func:`operating_points`."""
        return _points(self._falling[column], self._hits[column])

    def average_precisions(self) -> NDArray[np.float64]:
        """``[C]``, each class's :func:`average_precision`; NaN for classes without positives."""
        return np.array([_area(*self.curve(column)[1:]) for column in range(self.classes)])

    def counts(self, thresholds: ArrayLike) -> Counts:
        """What passes one threshold for all classes, one for each (``[C]``), or several of either.

        Args:
            thresholds: A number, ``[C]``, or ``[K, C]``; a score at the threshold passes.
        """
        limits = np.asarray(thresholds, np.float64)
        limits = np.broadcast_to(limits, (*limits.shape[:-1], self.classes) if limits.ndim else (self.classes,))
        found = np.empty(limits.shape, np.int64)
        for column in range(self.classes):
            rising = self._falling[column, ::-1]
            found[..., column] = self.pictures - np.searchsorted(rising, limits[..., column], "left")
        right = np.where(found > 0, self._hits[np.arange(self.classes), np.maximum(found, 1) - 1], 0)
        return Counts(found, right.astype(np.int64), self.wanted)

    def best_common(self) -> tuple[float, float]:
        """The one threshold with the best F1 as the papers define it, and that F1.

        That is the harmonic mean of macro precision and macro recall (Tag2Text, table 2). A thousand candidates lie
        evenly among the ranks of the surest scores, ten times as many as there are positives, and two hundred among
        those of the others. Classes without positives are left out.
        """
        known = np.flatnonzero(self.wanted)
        if not len(known):
            raise UsageError("no class has a positive, so no threshold can be chosen; check the annotations' names")
        pooled = np.sort(self._falling[known], axis=None)
        pooled = pooled[np.isfinite(pooled)]
        # The best threshold seldom lets more pass than ten times as many as there are positives.
        surest = pooled.size - min(pooled.size, 10 * int(self.wanted.sum()))
        ranks = (np.linspace(surest, pooled.size - 1, _CANDIDATES), np.linspace(0, surest, _FURTHER))
        candidates = np.unique(pooled[np.concatenate(ranks).astype(np.int64)])
        counts = self.counts(candidates[:, None]).of(known)
        precision, recall = counts.precision.mean(-1), counts.recall.mean(-1)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(np.flatnonzero(f1 >= f1.max())[-1])
        return float(candidates[best]), float(f1[best])

    def best_own(self) -> NDArray[np.float64]:
        """``[C]``, the threshold with each class's own best F1; infinite, so that nothing passes, without positives."""
        best = np.full(self.classes, np.inf)
        for column in np.flatnonzero(self.wanted):
            levels, found, right = self.curve(int(column))
            place = int((2 * right / (found + self.wanted[column])).argmax())
            best[column] = between(levels, place)
        return best


def between(levels: NDArray[np.floating], place: int) -> float:
    """A threshold that ``levels[place]`` reaches and the next lower level does not."""
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
    """Scores of every class, then of every picture, brought to mean 0 and deviation 1.

    A prompt that likes all pictures no longer outranks the others, nor does a picture that all prompts like. It needs
    no annotations, and is the stronger form of a CLIP baseline (SPARC, Miller et al., 2025, section 3).

    Args:
        scores: ``[N, C]``, any scale; probabilities are brought to log-odds by the caller if they should be.
    """
    values = np.asarray(scores, np.float64)
    for axis in (0, 1):
        spread = values.std(axis, keepdims=True)
        values = (values - values.mean(axis, keepdims=True)) / np.where(spread > 1e-12, spread, 1.0)
    return values.astype(np.float32)
