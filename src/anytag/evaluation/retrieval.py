"""How well scores find the text of a picture and the picture of a text.

As BLIP evaluates retrieval, and Tag2Text after it: similarities of all pictures and texts first (contrast), then the
best few of every query judged one by one (matching), each by the sum of both. Tag2Text adds the number of tags that
picture and text share, with a weight that it does not give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytag.errors import UsageError

#: Judges pairs: numbers of pictures ``[n]`` and of texts ``[n]`` to scores ``[n]``, for one the logit of "fits".
Judge = Callable[[NDArray[np.int64], NDArray[np.int64]], ArrayLike]


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """Scores of both kinds of queries, which differ after re-ranking.

    Attributes:
        texts: ``[pictures, texts]``, for pictures that ask for a text: compare within a row.
        pictures: ``[pictures, texts]``, for texts that ask for a picture: compare within a column.
    """

    texts: NDArray[np.floating]
    pictures: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class RetrievalRecall:
    """Recall at k both ways: the share of queries with a right answer among the k best, in [0, 1].

    Attributes:
        text: By k: a picture asks, its texts are right (R@k of "image to text", TR).
        picture: By k: a text asks, its picture is right ("text to image", IR).
    """

    text: dict[int, float]
    picture: dict[int, float]


def similarity_scores(
    pictures: ArrayLike,
    texts: ArrayLike,
    found: ArrayLike | None = None,
    named: ArrayLike | None = None,
    tag_weight: float = 0.0,
) -> NDArray[np.floating]:
    """Similarity of every picture and text, plus a weight times the number of tags that they share.

    Tag2Text weighs "the number of matching tags" with the similarity (its appendix on retrieval) and gives no formula
    and no weight; this is the plainest one. Similarities lie in [-1, 1], and numbers of tags often between 0 and 5: a
    weight of some hundredths is a start, to be chosen on validation pictures.

    Args:
        pictures: Unit vectors ``[pictures, D]``.
        texts: Unit vectors ``[texts, D]``.
        found: ``[pictures, tags]``, true for tags that the model recognises.
        named: ``[texts, tags]``, true for tags that a text names, such as the caption parser's.
        tag_weight: What a shared tag counts; 0, the default, leaves tags out.

    Returns:
        ``[pictures, texts]``.

    Raises:
        UsageError: If shapes do not fit, or a weight is given without tags.
    """
    of_pictures, of_texts = _floats(pictures), _floats(texts)
    if of_pictures.ndim != 2 or of_texts.ndim != 2 or of_pictures.shape[1] != of_texts.shape[1]:
        raise UsageError(
            f"pictures {of_pictures.shape} and texts {of_texts.shape} must be [pictures, D] and [texts, D]"
        )
    scores: NDArray[np.floating] = of_pictures @ of_texts.T
    if not tag_weight:
        return scores
    if found is None or named is None:
        raise UsageError(f"a tag_weight of {tag_weight} needs the tags found and named; give both, or a weight of 0")
    seen, said = (np.asarray(tags, dtype=bool).astype(scores.dtype) for tags in (found, named))
    if seen.shape != (len(of_pictures), said.shape[-1]) or said.shape[:1] != of_texts.shape[:1]:
        raise UsageError(f"tags found {seen.shape} and named {said.shape} must be [pictures, tags] and [texts, tags]")
    weighed: NDArray[np.floating] = scores + scores.dtype.type(tag_weight) * (seen @ said.T)
    return weighed


def reranked(scores: ArrayLike, judge: Judge, k: int = 256) -> RetrievalScores:
    """The best k answers to every query scored anew, by similarity plus the judge's score; the others follow behind.

    BLIP's defaults are 256 for COCO (5,000 pictures) and 128 for Flickr30k (1,000).

    Args:
        scores: ``[pictures, texts]``, see :func:`similarity_scores`.
        judge: Called once a query, with its best answers.
        k: Answers to judge; all, if there are no more.

    Returns:
        Answers that were not judged keep their order, below all that were.

    Raises:
        UsageError: If the scores are no table or hold NaN, k is below 1, or the judge gives another number of scores
            or NaN.
    """
    values = _floats(scores)
    if values.ndim != 2 or not values.size or np.isnan(values).any():
        raise UsageError(f"scores {values.shape} must be a table [pictures, texts] of numbers")
    if k < 1:
        raise UsageError(f"k must be at least 1, not {k}")
    of_texts, of_pictures = np.empty_like(values), np.empty_like(values)
    for picture, row in enumerate(values):
        best = _best(row, k)
        of_texts[picture] = _rerank(row, best, judge(np.full_like(best, picture), best))
    for text, column in enumerate(values.T):
        best = _best(column, k)
        of_pictures[:, text] = _rerank(column, best, judge(best, np.full_like(best, text)))
    return RetrievalScores(texts=of_texts, pictures=of_pictures)


def _best(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """The k best, best first; of equal ones the earlier."""
    return np.argsort(-scores, kind="stable")[:k].astype(np.int64)


def _rerank(scores: NDArray[np.floating], best: NDArray[np.int64], judged: ArrayLike) -> NDArray[np.floating]:
    verdicts = np.asarray(judged)
    if verdicts.shape != best.shape or np.isnan(verdicts).any():
        raise UsageError(f"the judge gave {verdicts.shape} for {len(best)} pairs; it must give a number for each")
    summed = scores[best] + verdicts
    # The best that was not judged is no more similar than the last that was: it comes at least 1 below all judged.
    behind: NDArray[np.floating] = scores - scores[best[-1]] + summed.min() - 1
    behind[best] = summed
    return behind


def _floats(numbers: ArrayLike) -> NDArray[np.floating]:
    values = np.asarray(numbers)
    floats: NDArray[np.floating] = values.astype(np.result_type(values, np.float32), copy=False)
    return floats


def retrieval_ranks(
    scores: ArrayLike | RetrievalScores, picture_of_text: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rank of the best right answer to every query, from 0.

    Wrong answers that score as high as the right one stand before it, so that a model which cannot tell them
    apart gains nothing.

    Args:
        scores: ``[pictures, texts]``, higher fits better; or those of :func:`reranked`.
        picture_of_text: ``[texts]``, the picture that each text belongs to; a picture may have several texts.

    Returns:
        Ranks of the texts ``[pictures]`` and of the pictures ``[texts]``.

    Raises:
        UsageError: If shapes do not fit, a score is NaN, or a picture has no text.
    """
    both = scores if isinstance(scores, RetrievalScores) else RetrievalScores(np.asarray(scores), np.asarray(scores))
    values, owner = both.texts, np.asarray(picture_of_text)
    if values.ndim != 2 or not values.size or owner.shape != values.shape[1:] or both.pictures.shape != values.shape:
        raise UsageError(f"scores {values.shape} must be [pictures, texts] and picture_of_text {owner.shape} [texts]")
    if np.isnan(values).any() or np.isnan(both.pictures).any():
        raise UsageError("a score is not a number; check the model's outputs")
    pictures = len(values)
    if owner.min() < 0 or owner.max() >= pictures:
        raise UsageError(f"picture_of_text must hold numbers from 0 to {pictures - 1}")
    if missing := sorted(set(range(pictures)) - set(owner.tolist())):
        raise UsageError(f"picture {missing[0]} has no text (so have {len(missing)} pictures); leave them out")
    columns = np.arange(len(owner))
    best = np.full(pictures, -np.inf)
    np.maximum.at(best, owner, values[owner, columns])
    asked = both.pictures[owner, columns]  # [texts]
    of_texts = np.empty(pictures, dtype=np.int64)
    of_pictures = np.full(len(owner), -1, dtype=np.int64)  # the right picture counts itself once
    for picture, row in enumerate(values):  # row by row: a full comparison would double the memory
        of_texts[picture] = ((row >= best[picture]) & (owner != picture)).sum()
        of_pictures += both.pictures[picture] >= asked
    # A picture's right texts above its best one do not exist, so only wrong ones were counted.
    return of_texts, of_pictures


def recall_at_k(
    scores: ArrayLike | RetrievalScores, picture_of_text: ArrayLike, ks: Sequence[int] = (1, 5, 10)
) -> RetrievalRecall:
    """Recall at every k, both ways, as COCO and Flickr30k retrieval report it.

    Args:
        scores: ``[pictures, texts]``, higher fits better; or those of :func:`reranked`.
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


def median_ranks(scores: ArrayLike | RetrievalScores, picture_of_text: ArrayLike) -> tuple[float, float]:
    """Median rank of the best right answer, from 1: of texts for pictures, and of pictures for texts.

    Args:
        scores: ``[pictures, texts]``, higher fits better; or those of :func:`reranked`.
        picture_of_text: ``[texts]``, the picture that each text belongs to.

    Raises:
        UsageError: If shapes do not fit, a score is NaN, or a picture has no text.
    """
    of_texts, of_pictures = retrieval_ranks(scores, picture_of_text)
    return float(np.median(of_texts) + 1), float(np.median(of_pictures) + 1)
