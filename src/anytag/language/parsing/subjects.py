"""Recognize verbs that look like nouns after their subject: "a cat naps on the sofa", "two boys camp in the woods".

These are so rare in captions that a tagger trained on them takes most such verbs for nouns, and finds a "cat nap".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

from anytag.language.data_files import data_lines
from anytag.language.parsing.lemmas import noun_lemma, verb_lemma
from anytag.language.parsing.lexicon import COMPOUND_HEADS, load_lexicon

#: Determiners of the singular.
_SINGULAR = frozenset({"a", "an", "one", "another", "each", "every", "this", "that"})
#: Tags that may come between a determiner and its noun.
_INSIDE = frozenset({"JJ", "NN", "NNP", "VBN", "VBG", "VBD", "CC", ",", "CD"})
#: Tags that may follow a verb without an object.
_AFTER = frozenset({".", ",", "IN", "RB", "RP", "CC", "TO", "WRB", "EX", "VBG", "WP", "DT", "PRP$", "PRP"})
_FINITE = frozenset({"VBZ", "VBP", "VBD", "MD"})
#: Words that open a new clause.
_BOUNDARY = frozenset({"while", "as", "who", "that", "which", "and", "when", "where", ",", ";", "but", "or"})


@cache
def beings() -> frozenset[str]:
    """Load words for people and animals, in the singular, from ``data/beings.txt``."""
    return frozenset(data_lines("beings.txt"))


@cache
def intransitive_verbs() -> frozenset[str]:
    """Load the base forms of intransitive verbs from ``data/intransitive.txt``."""
    return frozenset(data_lines("intransitive.txt"))


def verb_of_subject(lower: Sequence[str], tags: Sequence[str], index: int) -> str | None:
    """Return the Penn tag of the word at ``index`` as the verb of the person or animal before it, or ``None``.

    The words are in lower case; this one is tagged as a noun or adjective.
    """
    after = tags[index + 1] if index + 1 < len(tags) else "."
    if not index or after not in _AFTER or has_finite_verb(lower, tags, index, (-1,)):
        return None
    word, subject = lower[index], lower[index - 1]
    alone = not has_finite_verb(lower, tags, index, (1,))
    base = verb_lemma(word)
    singular = noun_lemma(subject)
    if singular not in beings():
        return None
    is_plural = singular != subject
    if word == base:
        plain = word in intransitive_verbs() and alone and (is_plural or _is_second(lower, index - 1))
        return "VBP" if plain and not _is_thing(subject, word) else None
    if is_plural or not word.endswith("s"):
        return None
    if _is_one(lower, tags, index - 1):
        # "a dog waves" cannot be about several "dog waves".
        return "VBZ" if base in intransitive_verbs() or base in load_lexicon()["verbs"] else None
    return "VBZ" if base in intransitive_verbs() and alone and not _is_thing(subject, base) else None


def has_finite_verb(
    lower: Sequence[str], tags: Sequence[str], index: int, directions: Sequence[Literal[-1, 1]] = (-1, 1)
) -> bool:
    """Return whether a word's clause has a finite verb before (-1) or after it (1)."""
    for step in directions:
        at = index + step
        while 0 <= at < len(tags) and lower[at] not in _BOUNDARY:
            if tags[at] in _FINITE:
                return True
            at += step
    return False


def _is_one(lower: Sequence[str], tags: Sequence[str], index: int) -> bool:
    """Return whether a noun has a determiner of the singular."""
    for before in range(index - 1, -1, -1):
        if lower[before] in _SINGULAR:
            return True
        if tags[before] not in _INSIDE:
            return False
    return False


def _is_second(lower: Sequence[str], index: int) -> bool:
    """Return whether a noun is the second of two subjects: "a boy and a girl dance"."""
    before = index - 2 if index > 1 and lower[index - 1] in _SINGULAR | {"the", "his", "her", "their"} else index - 1
    return before > 0 and lower[before] == "and" and noun_lemma(lower[before - 1]) in beings()


def _is_thing(subject: str, verb: str) -> bool:
    """Return whether the two words name a thing: "a horse race"."""
    return subject in COMPOUND_HEADS.get(verb, ()) or f"{subject} {verb}" in load_lexicon()["compounds"]
