"""Which word pieces name which tags: what a recognizer says of a tag can then weigh the words of a caption."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from anytag.language.parsing.lemmas import noun_lemma
from anytag.model.vocabulary import TagVocabulary
from anytag.recognition import TagKind

#: How far below its threshold, and how far above, a tag goes on counting, in log-odds. What is surely absent is
#: no more absent than that, and what is surely there need not be said three times.
LOWEST, HIGHEST = -4.0, 2.0

#: Shorter words ("a", "on") name no tag, whatever the vocabulary's aliases are.
_SHORTEST = 3


_KINDS: tuple[TagKind, ...] = ("object", "scene")


class TagWords:
    """The words that name an object or a scene with a single piece.

    Attributes and actions are left out: captions say "white" of half of all things, and the small words of verbs
    ("sit", "stand") belong to the sentence as much as to the picture.

    Args:
        vocabulary: The tags.
        pieces: Ids by word piece; those that go on within a word begin with ``##``.
    """

    def __init__(self, vocabulary: TagVocabulary, pieces: Mapping[str, int]):
        named = {
            piece: ids
            for word, piece in pieces.items()
            if len(word) >= _SHORTEST and word.isalpha() and (ids := _named_by(word, vocabulary))
        }
        self._tags, self._size = len(vocabulary), max(pieces.values(), default=-1) + 1
        self._pieces = np.array(list(named), np.int64)
        most = max(map(len, named.values()), default=1)
        # Rows of one length; what fills them points behind the last tag.
        self._named = np.full((len(named), most), self._tags)
        for row, places in zip(self._named, named.values(), strict=True):
            row[: len(places)] = places

    def weights(self, margins: NDArray[np.float64]) -> NDArray[np.float32]:
        """What to add to the scores of word pieces, ``[pieces]``; 0 for those that name nothing.

        Args:
            margins: ``[tags]``, by how much each tag's log-odds exceed its threshold's; NaN for tags that were not
                asked for. Of several tags that a word names, the likeliest counts.
        """
        best = self._best(margins)
        result = np.zeros(self._size, np.float32)
        result[self._pieces] = np.where(np.isnan(best), 0.0, np.clip(best, LOWEST, HIGHEST))
        return result

    def forbidden(self, margins: NDArray[np.float64], needed: NDArray[np.float64]) -> NDArray[np.int64]:
        """The pieces whose every tag misses the margin that it needs.

        Args:
            margins: ``[tags]``, as for :meth:`weights`; tags that were not asked for miss nothing.
            needed: ``[tags]``.
        """
        missed = np.append(margins < needed, [True])
        pieces: NDArray[np.int64] = self._pieces[missed[self._named].all(1)]
        return pieces

    def _best(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """The margin of the likeliest tag that each naming piece names; NaN if none of them was asked for."""
        known = np.append(np.where(np.isnan(margins), -np.inf, margins), -np.inf)
        best = known[self._named].max(1, initial=-np.inf)
        return np.where(np.isneginf(best), np.nan, best)


def _named_by(word: str, vocabulary: TagVocabulary) -> list[int]:
    found = (vocabulary.find(name, kind) for name in (word, noun_lemma(word)) for kind in _KINDS)
    return sorted({tag.id for tag in found if tag is not None})
