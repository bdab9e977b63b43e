"""Map word pieces to the tags that they name, so that a recognizer's scores can weight a caption's words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from anytag.language.parsing.lemmas import noun_lemma
from anytag.model.vocabulary import TagVocabulary
from anytag.recognition import TagKind

#: Margins are clipped here, in log-odds: absent tags count no less, and certain ones no more, lest they be repeated.
LOWEST, HIGHEST = -4.0, 2.0

#: Shorter words ("a", "on") name no tag, even if they are aliases.
_SHORTEST = 3

_KINDS: tuple[TagKind, ...] = ("object", "scene")


class TagWords:
    """The word pieces that alone name an object or a scene.

    Attributes and actions are left out: captions call half of all things "white", and short verbs ("sit", "stand") are
    as much part of the sentence as of the picture.

    Args:
        pieces: Ids by word piece; those within a word start with ``##``.
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
        # Shorter rows are filled with the index after the last tag.
        self._named = np.full((len(named), most), self._tags)
        for row, places in zip(self._named, named.values(), strict=True):
            row[: len(places)] = places

    def weights(self, margins: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return what to add to the scores of word pieces, ``[pieces]``; 0 for those that name no tag.

        Args:
            margins: ``[tags]``, log-odds above each tag's threshold; NaN for tags that were not asked for. Of several
                tags that a word names, the most likely counts.
        """
        best = self._best(margins)
        result = np.zeros(self._size, np.float32)
        result[self._pieces] = np.where(np.isnan(best), 0.0, np.clip(best, LOWEST, HIGHEST))
        return result

    def forbidden(self, margins: NDArray[np.float64], needed: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the word pieces of which every tag misses its required margin.

        Args:
            margins: ``[tags]``, as in :meth:`weights`; tags that were not asked for miss nothing.
            needed: ``[tags]``.
        """
        missed = np.append(margins < needed, [True])
        pieces: NDArray[np.int64] = self._pieces[missed[self._named].all(1)]
        return pieces

    def _best(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the largest margin of each piece's tags; NaN if none of them was asked for."""
        known = np.append(np.where(np.isnan(margins), -np.inf, margins), -np.inf)
        best = known[self._named].max(1, initial=-np.inf)
        return np.where(np.isneginf(best), np.nan, best)


def _named_by(word: str, vocabulary: TagVocabulary) -> list[int]:
    found = (vocabulary.find(name, kind) for name in (word, noun_lemma(word)) for kind in _KINDS)
    return sorted({tag.id for tag in found if tag is not None})
