"""How far a figure could be off because of the pictures that it was measured on (bootstrap; Efron, 1979)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytag.evaluation.ranking import check_scores


def bootstrap(
    measure: Callable[[NDArray[np.int64]], float], pictures: int, rounds: int, seed: int = 0
) -> tuple[float, float]:
    """The middle 95 % of a figure over pictures drawn with replacement.

    Args:
        measure: Computes it of some rows, which may come several times.
        pictures: How many there are to draw from.
        rounds: Draws.
        seed: The same seed gives the same interval.
    """
    return middle([measure(rows) for rows in resampled_rows(pictures, rounds, seed)])


def resampled_rows(pictures: int, rounds: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """As many rows as there are pictures, ``[N]``, drawn anew in every round."""
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        yield rng.integers(0, pictures, pictures)


def middle(figures: ArrayLike) -> tuple[float, float]:
    """Between which two values the middle 95 % lie."""
    low, high = np.quantile(np.asarray(figures), [0.025, 0.975])
    return float(low), float(high)


def bootstrap_map(scores: ArrayLike, targets: ArrayLike, rounds: int = 200, seed: int = 0) -> tuple[float, float]:
    """The middle 95 % of mean average precision over pictures drawn with replacement (Efron, 1979).

    A class that a draw leaves without positives does not count in that draw. Ranks are computed once: a draw gives
    every picture a weight, and equal scores keep entering together.

    Args:
        scores: ``[N, C]``.
        targets: ``[N, C]``, true for positives.
        rounds: Draws.
        seed: The same seed gives the same interval.

    Raises:
        UsageError: If shapes differ or a score is not a number.
    """
    values, truth = check_scores(scores, targets)
    drawn_rows = resampled_rows(len(values), rounds, seed)
    weights = np.stack([np.bincount(rows, minlength=len(values)) for rows in drawn_rows]).astype(np.float32)
    total, counted = np.zeros(rounds), np.zeros(rounds)
    for column in np.flatnonzero(truth.any(0)):
        order = np.argsort(-values[:, column], kind="stable")
        hit = truth[order, column]
        falling = values[order, column]
        last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
        # Only levels with a positive add to the area.
        positives = np.flatnonzero(hit)
        level_of = np.unique(np.searchsorted(last, positives))
        drawn = weights[:, order]
        found = np.cumsum(drawn, 1)[:, last[level_of]]
        right = np.cumsum(drawn[:, positives], 1)
        upto = np.searchsorted(positives, last[level_of], "right") - 1
        right = right[:, upto]
        wanted = right[:, -1]
        steps = np.diff(right, axis=1, prepend=0)
        area = (steps * right / np.maximum(found, 1)).sum(1) / np.maximum(wanted, 1)
        total += np.where(wanted > 0, area, 0)
        counted += wanted > 0
    return middle(total / np.maximum(counted, 1))
