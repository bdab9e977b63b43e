"""Retrieval metrics: how well scores find the text of a picture and the picture of a text.

BLIP and Tag2Text evaluate retrieval by the similarities of all pictures and texts. Tag2Text adds the number of tags
that picture and text share, with a weight that it does not give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytag.errors import UsageError


@dataclass(frozen=True, slots=True)
class RetrievalRecall:
    """Recall at k both ways: the share of queries with a right answer among the k best, in [0, 1].

    Attributes:
        text: By k: find the texts of a picture (R@k of "image to text", TR).
        picture: By k: find the picture of a text ("text to image", IR).
    """

    text: dict[int, float]
    picture: dict[int, float]


def retrieval_ranks(scores: ArrayLike, picture_of_text: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rank the best right answer to every query, from 0.

    Wrong answers that score as high as the right one rank before it, so that a model which cannot distinguish them
    gains nothing.

    Args:
        scores: ``[pictures, texts]``, higher fits better.
        picture_of_text: ``[texts]``, the picture that each text belongs to; a picture may have several texts.

    Returns:
        Ranks of the texts ``[pictures]`` and of the pictures ``[texts]``.

    Raises:
        UsageError: If shapes do not fit, a score is NaN, or a picture has no text.
    """
    values, owner = np.asarray(scores), np.asarray(picture_of_text)
    if values.ndim != 2 or not values.size or owner.shape != values.shape[1:]:
        raise UsageError(f"scores {values.shape} must be [pictures, texts] and picture_of_text {owner.shape} [texts]")
    if np.isnan(values).any():
        raise UsageError("a score is not a number; check the model's outputs")
    pictures = len(values)
    if owner.min() < 0 or owner.max() >= pictures:
        raise UsageError(f"picture_of_text must hold numbers from 0 to {pictures - 1}")
    if missing := sorted(set(range(pictures)) - set(owner.tolist())):
        raise UsageError(f"picture {missing[0]} has no text (so have {len(missing)} pictures); leave them out")
    best = np.full(pictures, -np.inf)
    right = values[owner, np.arange(len(owner))]  # [texts]
    np.maximum.at(best, owner, right)
    text_ranks = np.empty(pictures, dtype=np.int64)
    picture_ranks = np.full(len(owner), -1, dtype=np.int64)  # the right picture counts itself once
    for picture, row in enumerate(values):  # row by row: a full comparison would double the memory
        text_ranks[picture] = ((row >= best[picture]) & (owner != picture)).sum()
        picture_ranks += row >= right
    return text_ranks, picture_ranks


def recall_at_k(scores: ArrayLike, picture_of_text: ArrayLike, ks: Sequence[int] = (1, 5, 10)) -> RetrievalRecall:
    """Compute recall at every k, both ways, as COCO and Flickr30k retrieval report it.

    See :func:`retrieval_ranks` for the arguments.

    Raises:
        UsageError: As :func:`retrieval_ranks`, or if a k is below 1.
    """
    if any(k < 1 for k in ks):
        raise UsageError(f"k must be at least 1, not {min(ks)}")
    text_ranks, picture_ranks = retrieval_ranks(scores, picture_of_text)
    return RetrievalRecall(
        text={k: float((text_ranks < k).mean()) for k in ks},
        picture={k: float((picture_ranks < k).mean()) for k in ks},
    )


def median_ranks(scores: ArrayLike, picture_of_text: ArrayLike) -> tuple[float, float]:
    """Return the median rank of texts for pictures, and of pictures for texts, from 1; see :func:`retrieval_ranks`."""
    text_ranks, picture_ranks = retrieval_ranks(scores, picture_of_text)
    return float(np.median(text_ranks) + 1), float(np.median(picture_ranks) + 1)
