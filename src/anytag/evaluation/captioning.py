"""How well captions fit human ones: BLEU, ROUGE-L and CIDEr-D, as the COCO caption evaluation defines them.

The three scores take captions as lists of words; :func:`score_captions` takes plain strings. Given the same
words they agree with ``pycocoevalcap`` 1.2; that package splits words with a Java program, for which
:func:`caption_words` is a stand-in.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anytag.errors import UsageError

Words = Sequence[Hashable]

#: A further figure of captions and their references.
Metric = Callable[[Sequence[str], Sequence[Sequence[str]]], float]
_Ngram = tuple[Hashable, ...]

_WORD = re.compile(r"(?:[^\W\d_]\.){2,}|\w+(?:(?:[-./&']|(?<=\d)[,:](?=\d))\w+)*")
_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "‘": "'"})
#: CIDEr-D's highest order of n-grams, and the width of its length penalty in words; ROUGE-L's weight of recall.
_ORDERS, _SIGMA, _BETA = 4, 6.0, 1.2

_CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|m|d|re|ve|ll))\b")


def caption_words(caption: str) -> list[str]:
    """A caption's words, nearly as the COCO evaluation splits them (Penn Treebank rules without punctuation).

    Lower case; ``don't`` gives ``do n't`` and ``dog's`` gives ``dog 's``; what holds a word together stays
    (``t-shirt``, ``o'clock``, ``t.v.``, ``1,000``, ``2:30``); all other punctuation goes. Unlike the Java tokenizer
    this one does not split words that are written together (``cannot``, ``gonna``), does not keep the point of
    abbreviations (``st.``), does not keep symbols such as ``$``, ``%`` and ``&`` as words, and drops brackets, which
    the COCO evaluation leaves as the word ``-lrb-``. At most three in a thousand captions of
    COCO and Flickr30k differ.
    """
    words: list[str] = []
    for piece in _CLITIC.sub(r" \1 ", caption.lower().translate(_APOSTROPHES)).split():
        words.extend([piece] if _CLITIC.fullmatch("x" + piece, 1) else _WORD.findall(piece))
    return words


def _check(candidates: Sequence[object], references: Sequence[Sequence[object]]) -> None:
    """Refuse sets that do not fit.

    Raises:
        UsageError: If there is no picture, the numbers differ, or a picture has no reference.
    """
    if not candidates or len(candidates) != len(references):
        raise UsageError(
            f"{len(candidates)} captions but references of {len(references)} pictures; give one caption per picture"
        )
    if missing := [place for place, captions in enumerate(references) if not captions]:
        raise UsageError(f"picture {missing[0]} has no reference caption (so have {len(missing)} pictures)")


def _ngrams(words: Words, order: int) -> Counter[_Ngram]:
    """How often each run of ``order`` words occurs."""
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def bleu(candidates: Sequence[Words], references: Sequence[Sequence[Words]], *, orders: int = 4) -> tuple[float, ...]:
    """BLEU-1 to BLEU-``orders`` of a whole set (Papineni et al. 2002), in [0, 1].

    Clipped n-gram matches are summed over the set before dividing; the brevity penalty compares the summed
    candidate length with the summed lengths of each picture's closest reference (the shorter of two as close).
    No smoothing: an order without any match makes it and the higher orders 0.

    Args:
        candidates: One caption per picture.
        references: At least one caption per picture.
        orders: Highest order.

    Raises:
        UsageError: If the numbers differ or a picture has no reference.
    """
    _check(candidates, references)
    matches, totals = np.zeros(orders), np.zeros(orders)
    length, closest = 0, 0
    for candidate, others in zip(candidates, references, strict=True):
        length += len(candidate)
        closest += min((abs(len(other) - len(candidate)), len(other)) for other in others)[1]
        for order in range(1, orders + 1):
            limits: Counter[_Ngram] = Counter()
            for other in others:
                limits |= _ngrams(other, order)
            matches[order - 1] += (_ngrams(candidate, order) & limits).total()
            totals[order - 1] += max(len(candidate) - order + 1, 0)
    if not length:
        return (0.0,) * orders
    brevity = min(0.0, 1 - closest / length)
    with np.errstate(divide="ignore"):
        logarithms = np.log(matches / np.maximum(totals, 1))
    means = np.cumsum(logarithms) / np.arange(1, orders + 1)
    return tuple(float(value) for value in np.exp(means + brevity))


def _common_subsequence(first: Words, second: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for place, other in enumerate(second, start=1):
            diagonal, row[place] = row[place], diagonal + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]


def rouge_l(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """ROUGE-L of every picture (Lin 2004), in [0, 1]; the set's score is the mean.

    ``(1 + beta²) P R / (R + beta² P)``, where P and R are the longest common subsequence over the candidate's and
    the reference's length. As in the COCO evaluation P and R are each the best of all references, maybe not of
    the same one.

    Args:
        candidates: One caption per picture.
        references: At least one caption per picture.

    Returns:
        ``[N]``.

    Raises:
        UsageError: If the numbers differ or a picture has no reference.
    """
    _check(candidates, references)
    scores = np.zeros(len(candidates))
    for place, (candidate, others) in enumerate(zip(candidates, references, strict=True)):
        common = [_common_subsequence(candidate, other) for other in others]
        precision = max(common) / max(len(candidate), 1)
        recall = max(shared / max(len(other), 1) for shared, other in zip(common, others, strict=True))
        if precision and recall:
            scores[place] = (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)
    return scores


@dataclass(frozen=True, slots=True)
class _Weighted:
    """A caption's n-grams of one order, weighted, with their Euclidean norm."""

    weights: dict[_Ngram, float]
    norm: float


class CiderD:
    """CIDEr-D against fixed references (Vedantam et al. 2015, section 5 and equation 7).

    n-grams are weighted by count times ``log(N / df)``, df being the number of pictures with the n-gram in any of
    their references. Per order, candidate weights are clipped to the reference's, and the cosine is damped by
    ``exp(-(difference in length)² / (2 sigma²))``; then the mean over orders and references, times 10.

    Args:
        references: At least one caption per picture, as words, or as anything else that can be compared. They also
            give the document frequencies, so scores of different sets cannot be compared, and a set of one picture
            scores 0.
    """

    def __init__(self, references: Sequence[Sequence[Words]]):
        self.references = references
        self._pictures = math.log(len(references)) if references else 0.0
        self._frequency: Counter[_Ngram] = Counter()
        for captions in references:
            counted = map(_all_ngrams, captions)
            self._frequency.update({ngram for caption in counted for counts in caption for ngram in counts})

    def _weigh(self, words: Words) -> list[_Weighted]:
        weighted = []
        for counts in _all_ngrams(words):
            weights = {
                ngram: n * (self._pictures - math.log(max(self._frequency[ngram], 1))) for ngram, n in counts.items()
            }
            weighted.append(_Weighted(weights, math.sqrt(sum(weight * weight for weight in weights.values()))))
        return weighted

    def score(self, picture: int, candidates: Sequence[Words]) -> list[float]:
        """Scores in [0, 10] of captions for one picture, by its place among the references."""
        references = [(len(other), self._weigh(other)) for other in self.references[picture]]
        scores = []
        for candidate in candidates:
            ours, total = self._weigh(candidate), 0.0
            for length, theirs in references:
                cosines = sum(_clipped_cosine(own, other) for own, other in zip(ours, theirs, strict=True))
                damping = math.exp(-((len(candidate) - length) ** 2) / (2 * _SIGMA**2))
                total += 10 * damping * cosines / _ORDERS / len(references)
            scores.append(total)
        return scores


def cider_d(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """CIDEr-D of every picture, see :class:`CiderD`; the set's score is the mean.

    Args:
        candidates: One caption per picture.
        references: At least one caption per picture.

    Returns:
        ``[N]`` in [0, 10]; a mean of 1.0 is what papers print as 100.

    Raises:
        UsageError: If the numbers differ or a picture has no reference.
    """
    _check(candidates, references)
    scorer = CiderD(references)
    return np.array([scorer.score(place, [candidate])[0] for place, candidate in enumerate(candidates)])


def _all_ngrams(words: Words) -> list[Counter[_Ngram]]:
    return [_ngrams(words, order) for order in range(1, _ORDERS + 1)]


def _clipped_cosine(candidate: _Weighted, reference: _Weighted) -> float:
    """Similarity in which saying a word more often than the reference does not pay."""
    if not candidate.norm or not reference.norm:
        return 0.0
    theirs = reference.weights
    shared = sum(min(w, theirs[ngram]) * theirs[ngram] for ngram, w in candidate.weights.items() if ngram in theirs)
    return shared / (candidate.norm * reference.norm)


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """Scores of a set of captions.

    Attributes:
        bleu: BLEU-1 to BLEU-4, in [0, 1].
        rouge_l: In [0, 1].
        cider: CIDEr-D in [0, 10]; 1.0 is what papers print as 100.
        meteor: METEOR in [0, 1] (:mod:`anytag.evaluation.meteor`); ``None``: it was not asked for.
    """

    bleu: tuple[float, ...]
    rouge_l: float
    cider: float
    meteor: float | None = None


def score_captions(
    candidates: Sequence[str], references: Sequence[Sequence[str]], meteor: Metric | None = None
) -> CaptionScores:
    """Score captions against human ones.

    Args:
        candidates: One caption per picture.
        references: At least one caption per picture, in the same order.
        meteor: Computes METEOR, if that is wanted, too.

    Raises:
        UsageError: If the numbers differ or a picture has no reference.
    """
    _check(candidates, references)
    ours = [caption_words(caption) for caption in candidates]
    theirs = [[caption_words(caption) for caption in captions] for captions in references]
    return CaptionScores(
        bleu=bleu(ours, theirs),
        rouge_l=float(rouge_l(ours, theirs).mean()),
        cider=float(cider_d(ours, theirs).mean()),
        meteor=None if meteor is None else meteor(candidates, references),
    )
