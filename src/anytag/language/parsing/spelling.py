"""Correct typing errors in captions: an unknown word one edit away from a frequent word is replaced by it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from anytag.language.parsing.lemmas import noun_lemma, verb_lemma
from anytag.language.parsing.lexicon import ADJECTIVES, COLORS, MATERIALS, NOUNS, load_lexicon

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Shorter words have too many neighbors.
MIN_LENGTH = 5
#: Uses in captions from which a word may be a correction.
FREQUENT = 40


def one_edit_away(word: str) -> Iterator[str]:
    """Yield all words one edit away: a letter deleted, inserted or replaced, or two swapped; the first letter stays."""
    for index in range(1, len(word) + 1):
        head, tail = word[:index], word[index:]
        if tail:
            yield head + tail[1:]
            if len(tail) > 1:
                yield head + tail[1] + tail[0] + tail[2:]
        for letter in _LETTERS:
            yield head + letter + tail
            if tail:
                yield head + letter + tail[1:]


def is_known(word: str) -> bool:
    """Return whether the lexicon has a lower-case word or its base form."""
    lexicon = load_lexicon()
    if any(word in known for known in (NOUNS, ADJECTIVES, COLORS, MATERIALS)):
        return True
    if any(word in lexicon[table] for table in ("frequent", "protected", "proper", "adjs", "adj_irregular")):
        return True
    return noun_lemma(word) in lexicon["nouns"] or verb_lemma(word) in lexicon["verbs"]


@lru_cache(maxsize=65536)
def correct(word: str) -> str:
    """Return the most frequent correction of a lower-case unknown word, or the word itself."""
    typos: dict[str, str] = load_lexicon()["typos"]
    if word in typos:
        return typos[word]
    if len(word) < MIN_LENGTH or not word.isascii() or not word.isalpha() or is_known(word):
        return word
    frequent: dict[str, int] = load_lexicon()["frequent"]
    candidates = [c for c in one_edit_away(word) if frequent.get(c, 0) >= FREQUENT and c not in typos]
    return max(candidates, key=lambda c: frequent[c], default=word)


def correct_words(words: list[str]) -> list[str]:
    """Return the words with typing errors corrected; proper names (capitals within a caption) are left alone."""
    result = words
    for index, word in enumerate(words):
        if len(word) < MIN_LENGTH:
            continue
        if word.islower():
            better = correct(word)
        elif index == 0 and word[1:].islower():
            better = correct(word.lower()).capitalize()
        else:
            continue
        if better != word:
            if result is words:
                result = list(words)
            result[index] = better
    return result
