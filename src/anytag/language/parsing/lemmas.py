"""Lemmatize English words: tables of irregular forms first, then suffix rules checked against the lexicon."""

from __future__ import annotations

from functools import lru_cache

from anytag.language.parsing.lexicon import ADJECTIVE_FORMS, NOUN_FORMS, PLURAL_NAMES, VERB_FORMS, load_lexicon

_VOWELS = frozenset("aeiou")


@lru_cache(maxsize=65536)
def noun_lemma(word: str) -> str:
    """Return the singular of a lower-case noun ("women" -> "woman"); plural names stay ("jeans")."""
    lexicon = load_lexicon()
    if word in NOUN_FORMS:
        return NOUN_FORMS[word]
    if word in PLURAL_NAMES or len(word) < 3:
        return word
    if word in lexicon["noun_irregular"]:
        return str(lexicon["noun_irregular"][word])
    if word.endswith("men") and len(word) > 5:
        return word[:-2] + "an"
    if word.endswith("'s"):
        word = word[:-2]
    nouns = lexicon["nouns"]
    if not word.endswith("s") or word.endswith(("ss", "us")) or (word.endswith("is") and word in nouns):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-1] if word[:-1] in nouns and word[:-3] + "y" not in nouns else word[:-3] + "y"
    if word.endswith("ves") and word[:-1] not in nouns:
        for candidate in (word[:-3] + "f", word[:-3] + "fe"):
            if candidate in nouns:
                return candidate
    if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        if word[:-1] in nouns and not word.endswith(("sses", "shes", "xes")):
            return word[:-1]
        return word[:-2] if not word.endswith("oes") or word[:-2] in nouns else word[:-1]
    return word[:-1]


@lru_cache(maxsize=65536)
def verb_lemma(word: str) -> str:
    """Return the base form of a lower-case verb ("riding" -> "ride", "stopped" -> "stop")."""
    lexicon = load_lexicon()
    if word in VERB_FORMS:
        return VERB_FORMS[word]
    verbs = lexicon["verbs"]
    if word in lexicon["verb_irregular"]:
        return str(lexicon["verb_irregular"][word])
    if word.endswith("ing") and len(word) > 4:
        return _strip(word[:-3], verbs) or word
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("ed") and len(word) > 3 and word not in verbs:
        return _strip(word[:-2], verbs) or word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "zes", "ches", "shes", "oes")):
        return word[:-1] if word[:-1] in verbs and word[:-2] not in verbs else word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us")) and len(word) > 3:
        return word[:-1]
    return word


def _strip(stem: str, verbs: frozenset[str]) -> str | None:
    """Return the base form of a stem without "-ing" or "-ed"; ``None`` if it has no vowel."""
    if _VOWELS.isdisjoint(stem) and "y" not in stem:
        return None
    candidates = [stem, stem + "e"]
    if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in _VOWELS:
        candidates.insert(0 if stem[-1] not in "lsfz" else 1, stem[:-1])
    elif _one_short_syllable(stem):
        # "riding" comes from "ride": the verb "rid" would double its last letter.
        candidates.reverse()
    for candidate in candidates:
        if candidate in verbs:
            return candidate
    for candidate in candidates:
        # A verb that ends in a known one: "rollerskate".
        if any(candidate[index:] in verbs for index in range(2, len(candidate) - 3)):
            return candidate
    if _one_short_syllable(stem) or stem.endswith(
        ("v", "c", "dg", "rg", "uat", "iz", "bl", "dl", "tl", "pl", "gl", "kl")
    ):
        return stem + "e"
    return candidates[0] if len(candidates) == 3 and stem[-1] not in "lsfz" else stem


def _one_short_syllable(stem: str) -> bool:
    body = stem[2:] if stem.startswith("qu") else stem
    vowels = [index for index, c in enumerate(body) if c in _VOWELS]
    return len(vowels) == 1 and vowels[0] == len(body) - 2 and body[-1] not in "wxy"


@lru_cache(maxsize=65536)
def adjective_lemma(word: str) -> str:
    """Return the positive form of a lower-case adjective ("older" -> "old"), and other words unchanged."""
    if word in ADJECTIVE_FORMS:
        return ADJECTIVE_FORMS[word]
    adjectives = load_lexicon()["adjs"]
    if word in adjectives:
        return word
    for ending in ("er", "est"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word[: -len(ending)]
            for base in (
                stem,
                stem + "e",
                stem[:-1] if stem[-1] == stem[-2] else "",
                stem[:-1] + "y" if stem[-1] == "i" else "",
            ):
                if base in adjectives:
                    return base
    return word
