"""How well scores find the text of a picture and the picture of a text.

As BLIP evaluates retrieval, and Tag2Text after it, by the similarities of all pictures and texts. Tag2Text adds the
number of tags that picture and text share, with a weight that it does not give.
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
        text: By k: a picture asks, its texts are right (R@k of "image to text", TR).
        picture: By k: a text asks, its picture is right ("text to image", IR).
    """

    text: dict[int, float]
    picture: dict[int, float]


def retrieval_ranks(scores: ArrayLike, picture_of_text: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rank of the best right answer to every query, from 0.

    Wrong answers that score as high as the right one stand before it, so that a model which cannot tell them
    apart gains nothing.

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
    columns = np.arange(len(owner))
    best = np.full(pictures, -np.inf)
    np.maximum.at(best, owner, values[owner, columns])
    asked = values[owner, columns]  # [texts]
    of_texts = np.empty(pictures, dtype=np.int64)
    of_pictures = np.full(len(owner), -1, dtype=np.int64)  # the right picture counts itself once
    for picture, row in enumerate(values):  # row by row: a full comparison would double the memory
        of_texts[picture] = ((row >= best[picture]) & (owner != picture)).sum()
        of_pictures += row >= asked
    # A picture's right texts above its best one do not exist, so only wrong ones were counted.
    return of_texts, of_pictures


def recall_at_k(scores: ArrayLike, picture_of_text: ArrayLike, ks: Sequence[int] = (1, 5, 10)) -> RetrievalRecall:
    """Recall at every k, both ways, as COCO and Flickr30k retrieval report it.

    Args:
        scores: ``[pictures, texts]``, higher fits better.
        picture_of_text: ``[texts]``, the picture that each text belongs to.
        ks: How many answers may be given.

    Raises:
        UsageError: If shapes do not fit, a score is NaN, a picture has no text, or a k is below 1.
    """
    if any(k < 1 for k in ks):
        raise UsageError(f"k must be at least 1, not {min(ks)}")
    of_texts, of_pictures = retrieval_ranks(scores, picture_of_text)
    return RetrievalRecall(
        text={k: float((of_texts < k).mean()) for k in ks},
        picture={k: float((of_pictures < k).mean()) for k in ks},
    )


def median_ranks(scores: ArrayLike, picture_of_text: ArrayLike) -> tuple[float, float]:
    """Median rank of the best right answer, from 1: of texts for pictures, and of pictures for texts.

    Args:
        scores: ``[pictures, texts]``, higher fits better.
        picture_of_text: ``[texts]``, the picture that each text belongs to.

    Raises:
        UsageError: If shapes do not fit, a score is NaN, or a picture has no text.
    """
    of_texts, of_pictures = retrieval_ranks(scores, picture_of_text)
    return float(np.median(of_texts) + 1), float(np.median(of_pictures) + 1)
