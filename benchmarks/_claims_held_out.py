"""Tags that training never sees: which they are, how they are kept out, how well they are recognized."""

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
    """Tags to hide from training.

    Args:
        support: ``[T]``, validation pictures of every tag.
        count: How many tags.
        at_least: Validation pictures that such a tag needs, for its average precision to mean something.
        seed: Of the draw.
        kept: Tags that stay.

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
    """A batch that asks for none of the hidden tags: they are neither right nor wrong answers."""
    assert batch.tag_ids is not None
    assert batch.tags is not None
    columns = torch.from_numpy(~np.isin(batch.tag_ids.numpy(), hidden))
    return replace(batch, tag_ids=batch.tag_ids[columns], tags=batch.tags[:, columns])


@dataclass(frozen=True)
class UnseenFigures:
    """Means over tags.

    Attributes:
        ap: Average precision.
        chance: What scores by chance would give: how often the tags are true.
        tags: How many they are.
    """

    ap: float
    chance: float
    tags: int


def mean_precision(scores: NDArray[np.float32], truth: NDArray[np.bool_], tags: NDArray[np.int64]) -> UnseenFigures:
    """Mean average precision of some tags.

    Args:
        scores: ``[N, T]``.
        truth: ``[N, T]``.
        tags: Columns; those without a positive are left out.
    """
    chosen = tags[truth[:, tags].any(0)] if len(tags) else tags
    if not len(chosen):
        return UnseenFigures(float("nan"), float("nan"), 0)
    precisions = average_precisions(scores[:, chosen], truth[:, chosen])
    return UnseenFigures(float(precisions.mean()), float(truth[:, chosen].mean()), len(chosen))
