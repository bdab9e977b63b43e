"""A part-of-speech tagger for captions in pure Python.

Words with a single use in captions are looked up. For other and unknown words, a linear model scores the word, its
ending and its neighbors from left to right. It is an averaged perceptron (Collins, 2002) distilled from spaCy's tags of
200,000 captions, after repairing spaCy's systematic mistakes on captions (:mod:`anytag.language.parsing.repairs`).
``recipes/caption_tagger.py`` trains it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from anytag.language.data_files import read_data
from anytag.language.parsing.repairs import repair_tags

#: The model's tags, without distinctions that the rules do not need (JJR is JJ, VBP is VB).
TAGS = (
    "NN", "NNS", "NNP", "JJ", "VBG", "VBN", "VBD", "VB", "VBZ", "MD", "DT", "CD", "PRP$", "PRP", "POS", "IN", "RP",
    "RB", "TO", "CC", "WP", "EX", ".", ",",
)  # fmt: skip
_OPEN = tuple(TAGS.index(tag) for tag in ("NN", "NNS", "JJ", "VBG", "VBN", "VBD", "VB", "VBZ", "RB", "NNP"))
_FINITE = frozenset(TAGS.index(tag) for tag in ("VB", "VBZ", "VBD", "MD"))
_NUMBER, _STOP, _COMMA, _NAME = (TAGS.index(tag) for tag in ("CD", ".", ",", "NNP"))
#: Words that open a clause, in which a new finite verb may come.
_CLAUSE = frozenset(("while", "as", "who", "that", "which", "and", "when", "where", ",", "but"))


class LightTagger:
    """The light tagger.

    Args:
        lexicon: For each known word, the indices in :data:`TAGS` of its possible tags, most likely first.
        weights: For each feature, the weights of some tags by index.
        shares: For known words, the share of each tag among their uses, for repairs.
    """

    def __init__(
        self,
        lexicon: dict[str, tuple[int, ...]],
        weights: dict[str, dict[int, float]],
        shares: dict[str, dict[str, float]],
    ):
        self._lexicon, self._weights, self._shares = lexicon, weights, shares

    def tag(self, words: Sequence[str]) -> list[str]:
        """Return the Penn tags of a caption's words, which keep their case."""
        lower = [word.lower() for word in words]
        lexicon, weights = self._lexicon, self._weights
        choices = [lexicon.get(word) or guess(raw, word) for raw, word in zip(words, lower, strict=True)]
        result: list[int] = []
        finite = False
        for position, options in enumerate(choices):
            if len(options) == 1:
                best = options[0]
            else:
                scores = dict.fromkeys(options, 0.0)
                for feature in features(words, lower, choices, result, position, finite, lower[position] in lexicon):
                    row = weights.get(feature)
                    if row is not None:
                        for index in options:
                            if index in row:
                                scores[index] += row[index]
                best = max(options, key=scores.__getitem__)
            result.append(best)
            if best in _FINITE:
                finite = True
            elif lower[position] in _CLAUSE:
                finite = False
        return [TAGS[index] for index in result]

    def tag_many(self, sentences: Iterable[list[str]]) -> Iterator[tuple[list[str], list[str]]]:
        for words in sentences:
            # The model has learned the repairs for known words only.
            yield words, repair_tags([word.lower() for word in words], self.tag(words), self._shares)


def guess(raw: str, word: str) -> tuple[int, ...]:
    """Return the possible tags of an unknown word."""
    first = word[0]
    if first.isdigit():
        return (_NUMBER,)
    if not first.isalpha():
        return (_COMMA,) if first in ",;:" else (_STOP,)
    return _OPEN


def features(
    words: Sequence[str],
    lower: Sequence[str],
    choices: Sequence[tuple[int, ...]],
    before: Sequence[int],
    position: int,
    finite: bool,
    known: bool,
) -> list[str]:
    """Return the names of the active features of the word at ``position``.

    ``choices`` are the possible tags of each word, most likely first, and ``before`` the tags of the words to the left.
    ``finite`` says whether the clause has had a finite verb, and ``known`` whether the lexicon has the word.
    """
    word = lower[position]
    one = before[position - 1] if position else -1
    two = before[position - 2] if position > 1 else -1
    left = lower[position - 1] if position else "<"
    last = len(lower) - 1
    right, after = (lower[position + 1], choices[position + 1][0]) if position < last else (">", -1)
    beyond = choices[position + 2][0] if position < last - 1 else -1
    on = [
        f"a{one}|{after}",
        f"b{one}|{two}",
        f"c{left}",
        f"d{right}",
        f"e{finite}|{one}|{after}",
        f"f{word[-3:]}|{one}",
        f"g{after}|{beyond}|{word[-2:]}",
    ]
    if known:
        on += (
            f"h{word}",
            f"i{word}|{one}",
            f"j{word}|{after}",
            f"k{word}|{finite}",
            f"l{word}|{left}",
            f"m{word}|{right}",
        )
    else:
        on += (
            f"n{word[-4:]}",
            f"o{word[-3:]}",
            f"p{word[-2:]}",
            f"q{word[-3:]}|{after}",
            f"r{words[position][0].isupper()}|{position == 0}",
            f"s{'-' in word}|{word[-2:]}",
        )
    return on


@cache
def load_shares() -> dict[str, dict[str, float]]:
    """Load the share of each Penn tag among the uses of the words in captions."""
    record = _read()["lexicon"]
    shares: dict[str, dict[str, float]] = {}
    for word, packed in record.items():
        pairs = [entry.split(":") for entry in packed.split(" ")]
        shares[word] = {TAGS[int(index)]: (int(percent) if percent else 100) / 100 for index, percent in pairs}
    return shares


@cache
def load_light_tagger() -> LightTagger:
    """Load the tagger that ships with the package."""
    record = _read()
    lexicon = {
        word: tuple(int(entry.split(":")[0]) for entry in packed.split(" "))
        for word, packed in record["lexicon"].items()
    }
    weights: dict[str, dict[int, float]] = {}
    for name, packed in record["weights"].items():
        pairs = (entry.split(":") for entry in packed.split(" "))
        weights[name] = {int(index): float(value) for index, value in pairs}
    return LightTagger(lexicon, weights, load_shares())


@cache
def _read() -> dict[str, dict[str, str]]:
    record: dict[str, dict[str, str]] = json.loads(read_data("tagger.json.gz"))
    return record
