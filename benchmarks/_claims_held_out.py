"""Tags hidden from training: choosing them, hiding them, and measuring how well they are recognized."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from anytag.errors import UsageError
from anytag.evaluation.ranking import average_precisions
from anytag.training.lite.batches import LiteBatch


def draw_held_out(
    support: NDArray[np.int64], count: int, at_least: int, seed: int, kept: Collection[int] = ()
) -> NDArray[np.int64]:
    """Choose tags to hide from training.

    Args:
        support: ``[T]``, number of validation pictures of every tag.
        count: How many tags.
        at_least: Minimum number of validation pictures of a hidden tag.
        seed: Random seed.
        kept: Tags that are never hidden.

    Returns:
        Ids, ascending.

    Raises:
        UsageError: If too few tags have that support.
    """
    eligible = np.array([i for i in np.flatnonzero(support >= at_least) if i not in kept], np.int64)
    if len(eligible) < count:
        raise UsageError(f"{len(eligible)} tags are true of {at_least} validation pictures; {count} cannot be hidden")
    return np.sort(np.random.default_rng((seed, 200)).choice(eligible, count, replace=False))


def without(batch: LiteBatch, hidden: NDArray[np.int64]) -> LiteBatch:
    """Remove hidden tags from a batch, so that they are neither positives nor negatives."""
    assert batch.tag_ids is not None
    assert batch.tags is not None
    columns = torch.from_numpy(~np.isin(batch.tag_ids.numpy(), hidden))
    return replace(batch, tag_ids=batch.tag_ids[columns], tags=batch.tags[:, columns])


@dataclass(frozen=True)
class UnseenFigures:
    """Means over hidden tags.

    Attributes:
        ap: Average precision.
        chance: Average precision of random scores: the frequency of the tags.
        tags: Number of tags.
    """

    ap: float
    chance: float
    tags: int


def mean_precision(scores: NDArray[np.float32], truth: NDArray[np.bool_], tags: NDArray[np.int64]) -> UnseenFigures:
    """Compute mean average precision of some tags.

    Args:
        scores: ``[N, T]``.
        truth: ``[N, T]``.
        tags: Columns to use; those without positives are skipped.
    """
    chosen = tags[truth[:, tags].any(0)] if len(tags) else tags
    if not len(chosen):
        return UnseenFigures(float("nan"), float("nan"), 0)
    precisions = average_precisions(scores[:, chosen], truth[:, chosen])
    return UnseenFigures(float(precisions.mean()), float(truth[:, chosen].mean()), len(chosen))
