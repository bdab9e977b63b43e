"""Caption metrics: BLEU, ROUGE-L and CIDEr-D, as the COCO caption evaluation defines them.

The three take captions as lists of words, one candidate and at least one reference per picture;
:func:`score_captions` takes plain strings. Given the same words they agree with ``pycocoevalcap`` 1.2; that package
splits words with a Java program, for which :func:`caption_words` is a stand-in.
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

#: Scores candidates against the references of each.
Metric = Callable[[Sequence[str], Sequence[Sequence[str]]], float]
_Ngram = tuple[Hashable, ...]

_WORD = re.compile(r"(?:[^\W\d_]\.){2,}|\w+(?:(?:[-./&']|(?<=\d)[,:](?=\d))\w+)*")
_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "‘": "'"})
#: CIDEr-D's highest order of n-grams, and the width of its length penalty in words; ROUGE-L's weight of recall.
_ORDERS, _SIGMA, _BETA = 4, 6.0, 1.2

_CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|m|d|re|ve|ll))\b")


def caption_words(caption: str) -> list[str]:
    """Split a caption into words, nearly as the COCO evaluation does (Penn Treebank rules without punctuation).

    Lower case; ``don't`` gives ``do n't`` and ``dog's`` gives ``dog 's``; punctuation within a word stays
    (``t-shirt``, ``o'clock``, ``t.v.``, ``1,000``, ``2:30``); all other punctuation goes. Unlike the Java tokenizer
    this one does not split ``cannot`` and ``gonna``, does not keep the point of abbreviations (``st.``) nor symbols
    such as ``$``, ``%`` and ``&``, and drops brackets, which the COCO evaluation leaves as the word ``-lrb-``. At most
    three in a thousand captions of COCO and Flickr30k differ.
    """
    words: list[str] = []
    for piece in _CLITIC.sub(r" \1 ", caption.lower().translate(_APOSTROPHES)).split():
        words.extend([piece] if _CLITIC.fullmatch("x" + piece, 1) else _WORD.findall(piece))
    return words


def _check(candidates: Sequence[object], references: Sequence[Sequence[object]]) -> None:
    """Raise ``UsageError`` if there is no picture, the numbers differ, or a picture has no reference."""
    if not candidates or len(candidates) != len(references):
        raise UsageError(
            f"{len(candidates)} captions but references of {len(references)} pictures; give one caption per picture"
        )
    if missing := [place for place, captions in enumerate(references) if not captions]:
        raise UsageError(f"picture {missing[0]} has no reference caption (so have {len(missing)} pictures)")


def _ngrams(words: Words, order: int) -> Counter[_Ngram]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def bleu(candidates: Sequence[Words], references: Sequence[Sequence[Words]], *, orders: int = 4) -> tuple[float, ...]:
    """Compute BLEU-1 to BLEU-``orders`` of a whole set (Papineni et al. 2002), in [0, 1].

    Clipped n-gram matches are summed over the set before dividing; the brevity penalty compares the summed
    candidate length with the summed lengths of each picture's closest reference (the shorter of two as close).
    No smoothing: an order without any match makes it and the higher orders 0.

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
    """Compute ROUGE-L of every picture (Lin 2004), ``[N]`` in [0, 1]; the set's score is the mean.

    ``(1 + beta²) P R / (R + beta² P)``, where P and R are the length of the longest common subsequence over that of
    the candidate and of the reference. As in the COCO evaluation P and R are each the best of all references,
    possibly of different ones.

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


#: A caption's weighted n-grams of one order, and their Euclidean norm.
_Weighted = tuple[dict[_Ngram, float], float]


class CiderD:
    """CIDEr-D against fixed references (Vedantam et al. 2015, section 5 and equation 7).

    n-grams are weighted by count times ``log(N / df)``, df being the number of pictures with the n-gram in any of
    their references. Per order, candidate weights are clipped to the reference's, and the cosine is damped by
    ``exp(-(difference in length)² / (2 sigma²))``; then the mean over orders and references, times 10.

    Args:
        references: At least one caption per picture, as words or token ids. They also give the document frequencies,
            so scores of different sets cannot be compared, and a set of one picture scores 0.
    """

    def __init__(self, references: Sequence[Sequence[Words]]):
        self.references = references
        self._pictures = math.log(len(references)) if references else 0.0
        self._frequency: Counter[_Ngram] = Counter()
        for captions in references:
            self._frequency.update({ngram for words in captions for counts in _all_ngrams(words) for ngram in counts})

    def _weigh(self, words: Words) -> list[_Weighted]:
        weighted = []
        for counts in _all_ngrams(words):
            weights = {
                ngram: n * (self._pictures - math.log(max(self._frequency[ngram], 1))) for ngram, n in counts.items()
            }
            weighted.append((weights, math.sqrt(sum(weight * weight for weight in weights.values()))))
        return weighted

    def score(self, picture: int, candidates: Sequence[Words]) -> list[float]:
        """Score captions of one picture, given its place among the references, in [0, 10]."""
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
    """Compute :class:`CiderD` of every picture, ``[N]`` in [0, 10]; the set's score is the mean.

    Papers print a mean of 1.0 as 100.

    Raises:
        UsageError: If the numbers differ or a picture has no reference.
    """
    _check(candidates, references)
    scorer = CiderD(references)
    return np.array([scorer.score(place, [candidate])[0] for place, candidate in enumerate(candidates)])


def _all_ngrams(words: Words) -> list[Counter[_Ngram]]:
    return [_ngrams(words, order) for order in range(1, _ORDERS + 1)]


def _clipped_cosine(candidate: _Weighted, reference: _Weighted) -> float:
    """Cosine similarity in which repeating a word more often than the reference does not pay."""
    (ours, our_norm), (theirs, their_norm) = candidate, reference
    if not our_norm or not their_norm:
        return 0.0
    shared = sum(min(w, theirs[ngram]) * theirs[ngram] for ngram, w in ours.items() if ngram in theirs)
    return shared / (our_norm * their_norm)


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """Scores of a set of captions.

    Attributes:
        bleu: BLEU-1 to BLEU-4, in [0, 1].
        rouge_l: In [0, 1].
        cider: CIDEr-D in [0, 10]; papers print 1.0 as 100.
        meteor: METEOR in [0, 1] (:mod:`anytag.evaluation.meteor`); ``None`` if not requested.
    """

    bleu: tuple[float, ...]
    rouge_l: float
    cider: float
    meteor: float | None = None


def score_captions(
    candidates: Sequence[str], references: Sequence[Sequence[str]], meteor: Metric | None = None
) -> CaptionScores:
    """Score captions against human ones, with METEOR if a function that computes it is given.

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
