"""Pictures that parts of a query found, and how they are combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Matched:
    """Numbers of pictures in rising order, and their scores."""

    entries: NDArray[np.int64]
    scores: NDArray[np.float32]


def in_all(parts: Sequence[Matched]) -> Matched:
    """Return the pictures in all parts, with the sums of their scores."""
    entries, scores = parts[0].entries, parts[0].scores
    for part in parts[1:]:
        entries, left, right = np.intersect1d(entries, part.entries, assume_unique=True, return_indices=True)
        scores = scores[left] + part.scores[right]
    return Matched(entries, scores)


def in_any(parts: Sequence[Matched]) -> Matched:
    """Return the pictures in any part, with the best of their scores."""
    if len(parts) == 1:
        return parts[0]
    # Indexed by number, since a general tag has hundreds of kinds, and sorting all their pictures takes longer.
    last = max((int(part.entries[-1]) for part in parts if len(part.entries)), default=0)
    best = np.full(last + 1, -np.inf, np.float32)
    for part in parts:
        best[part.entries] = np.maximum(best[part.entries], part.scores)
    entries = np.flatnonzero(best > -np.inf)
    return Matched(entries, best[entries])


def without(matched: Matched, excluded: Matched) -> Matched:
    """Return the pictures of the first that are not in the second."""
    keep = ~np.isin(matched.entries, excluded.entries, assume_unique=True)
    return Matched(matched.entries[keep], matched.scores[keep])


def common_positions(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of common values in both arrays, which are sorted; fast if the first is short."""
    if not len(second):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    places = np.minimum(np.searchsorted(second, first), len(second) - 1)
    common = np.flatnonzero(second[places] == first)
    return common, places[common]


def similarities(
    rows: NDArray[np.float32], entries: NDArray[np.int64], vector: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the cosine similarities of some rows with a vector."""
    if 2 * len(entries) > len(rows):
        return np.asarray((rows @ vector)[entries])  # All rows, since picking most of them is slower.
    return np.asarray(rows[entries] @ vector)


def best_places(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the positions of the highest scores, best first; ties in order."""
    if 0 < count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        chosen = np.flatnonzero(scores >= least)
    else:
        chosen = np.arange(len(scores) if count else 0)
    return np.asarray(chosen[np.argsort(-scores[chosen], kind="stable")][:count], np.int64)
