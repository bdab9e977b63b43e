"""Bootstrap confidence intervals over the pictures of a benchmark (Efron, 1979)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytag.evaluation.ranking import check_scores


def bootstrap(
    measure: Callable[[NDArray[np.int64]], float], pictures: int, rounds: int, seed: int = 0
) -> tuple[float, float]:
    """Compute the 95 % interval of a figure over pictures resampled with replacement.

    Args:
        measure: Computes the figure from row numbers ``[N]``, in which a row may occur several times.
    """
    return interval_95([measure(rows) for rows in _resampled_rows(pictures, rounds, seed)])


def _resampled_rows(pictures: int, rounds: int, seed: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        yield rng.integers(0, pictures, pictures)


def interval_95(figures: ArrayLike) -> tuple[float, float]:
    """Return the 2.5th and the 97.5th percentile."""
    low, high = np.quantile(np.asarray(figures), [0.025, 0.975])
    return float(low), float(high)


def bootstrap_map(scores: ArrayLike, targets: ArrayLike, rounds: int = 200, seed: int = 0) -> tuple[float, float]:
    """Compute the 95 % bootstrap interval of mean average precision.

    A resample leaves out the classes that have no positive in it. Classes are sorted once: a resample weights the
    pictures, and pictures with equal scores still enter together.

    Args:
        scores: ``[N, C]``.
        targets: ``[N, C]``, true for positives.

    Raises:
        UsageError: If the shapes differ or a score is NaN.
    """
    values, truth = check_scores(scores, targets)
    samples = _resampled_rows(len(values), rounds, seed)
    weights = np.stack([np.bincount(rows, minlength=len(values)) for rows in samples]).astype(np.float32)
    total, classes = np.zeros(rounds), np.zeros(rounds)
    for column in np.flatnonzero(truth.any(0)):
        order = np.argsort(-values[:, column], kind="stable")
        falling = values[order, column]
        last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
        # Only score levels with a positive add to the area.
        positives = np.flatnonzero(truth[order, column])
        levels = last[np.unique(np.searchsorted(last, positives))]
        sampled = weights[:, order]
        predicted = np.cumsum(sampled, 1)[:, levels]
        correct = np.cumsum(sampled[:, positives], 1)[:, np.searchsorted(positives, levels, "right") - 1]
        count = correct[:, -1]
        steps = np.diff(correct, axis=1, prepend=0)
        area = (steps * correct / np.maximum(predicted, 1)).sum(1) / np.maximum(count, 1)
        total += np.where(count > 0, area, 0)
        classes += count > 0
    return interval_95(total / np.maximum(classes, 1))
