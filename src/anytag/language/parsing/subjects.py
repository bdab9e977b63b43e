"""Verbs that look like nouns behind who does it: "a cat naps on the sofa", "two boys camp in the woods".

Captions say so rarely that a tagger learned of them takes most such verbs for nouns, and finds a "cat nap".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from anytag.language.parsing.lemmas import load_lexicon, noun_lemma, verb_lemma

#: They stand before one: what follows in the plural is not their noun.
_SINGULAR = frozenset({"a", "an", "one", "another", "each", "every", "this", "that"})
#: Tags of words that may stand between a determiner and its noun.
_INSIDE = frozenset({"JJ", "NN", "NNP", "VBN", "VBG", "VBD", "CC", ",", "CD"})
#: Tags of what may follow a verb without an object.
_AFTER = frozenset({".", ",", "IN", "RB", "RP", "CC", "TO", "WRB", "EX", "VBG", "WP", "DT", "PRP$", "PRP"})
_FINITE = frozenset({"VBZ", "VBP", "VBD", "MD"})
#: Words that open a clause of their own.
_BOUNDARY = frozenset({"while", "as", "who", "that", "which", "and", "when", "where", ",", ";", "but", "or"})
#: Verbs that are a ride, a roll or a race behind a name for it: "pony rides", "lobster rolls".
_ALSO_THINGS = {
    "ride": frozenset(["pony", "horse", "camel", "elephant", "donkey", "mule", "bull"]),
    "roll": frozenset(["chicken", "lobster", "crab", "fish", "salmon", "tuna", "turkey", "duck"]),
    "race": frozenset(["horse", "dog", "greyhound", "camel", "snail", "duck", "turtle", "frog"]),
    "train": frozenset(["mule", "dog"]),
    "shower": frozenset(["baby"]),
    "swing": frozenset(["baby"]),
    "picnic": frozenset(["family"]),
    "camp": frozenset(["family"]),
    "party": frozenset(["family"]),
}


@cache
def beings() -> frozenset[str]:
    """Words for persons and animals, in the singular, from ``data/beings.txt``."""
    return frozenset(_lines("beings.txt"))


@cache
def intransitive_verbs() -> frozenset[str]:
    """What they do without an object, in the base form, from ``data/intransitive.txt``."""
    return frozenset(_lines("intransitive.txt"))


def _lines(name: str) -> list[str]:
    text = files("anytag.language").joinpath(f"data/{name}").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def verb_of_subject(lower: Sequence[str], tags: Sequence[str], place: int) -> str | None:
    """The Penn tag of a word as the verb of the person or animal before it; ``None`` if it is no such verb.

    Args:
        lower: Lower-case words of a caption.
        tags: Their tags.
        place: The word, which has been taken for a noun or an adjective.
    """
    if not place or _after(tags, place) not in _AFTER or _has_verb(lower, tags, range(place - 1, -1, -1)):
        return None
    word, subject = lower[place], lower[place - 1]
    alone = not _has_verb(lower, tags, range(place + 1, len(tags)))
    base = verb_lemma(word)
    singular = noun_lemma(subject)
    if singular not in beings():
        return None
    is_plural = singular != subject
    if word == base:
        plain = word in intransitive_verbs() and alone and (is_plural or _is_second(lower, place - 1))
        return "VBP" if plain and not _is_thing(subject, word) else None
    if is_plural or not word.endswith("s"):
        return None
    if _is_one(lower, tags, place - 1):
        # "a dog waves" cannot be several dog waves.
        return "VBZ" if base in intransitive_verbs() or base in load_lexicon()["verbs"] else None
    return "VBZ" if base in intransitive_verbs() and alone and not _is_thing(subject, base) else None


def _after(tags: Sequence[str], place: int) -> str:
    return tags[place + 1] if place + 1 < len(tags) else "."


def _has_verb(lower: Sequence[str], tags: Sequence[str], places: range) -> bool:
    """Whether there is a finite verb on one side of a word, as far as its clause goes."""
    for place in places:
        if lower[place] in _BOUNDARY:
            return False
        if tags[place] in _FINITE:
            return True
    return False


def _is_one(lower: Sequence[str], tags: Sequence[str], place: int) -> bool:
    """Whether the noun at a place has a determiner of the singular."""
    for before in range(place - 1, -1, -1):
        if lower[before] in _SINGULAR:
            return True
        if tags[before] not in _INSIDE:
            return False
    return False


def _is_second(lower: Sequence[str], place: int) -> bool:
    """Whether a noun is the second of two: "a boy and a girl dance"."""
    before = place - 2 if place > 1 and lower[place - 1] in _SINGULAR | {"the", "his", "her", "their"} else place - 1
    return before > 0 and lower[before] == "and" and noun_lemma(lower[before - 1]) in beings()


def _is_thing(subject: str, verb: str) -> bool:
    """Whether the two are a name of something: "a horse race"."""
    return subject in _ALSO_THINGS.get(verb, ()) or f"{subject} {verb}" in load_lexicon()["compounds"]
