"""One-letter word classes of tagged words, on which the tag rules work."""

from __future__ import annotations

from anytag.language.parsing.lemmas import noun_lemma
from anytag.language.parsing.lexicon import (
    ADJECTIVES,
    COLORS,
    COMMON_CAPITALS,
    MATERIALS,
    NOUNS,
    PLACE_ADVERBS,
    load_lexicon,
)

# N noun, A adjective, C color, G -ing form, E -ed form, F other verb form, D determiner, number or possessive,
# Q possessive 's, I preposition, R particle, B adverb, T "to", K conjunction, M comma, P name, O anything else.
_CLASS = {
    "NN": "N", "NNS": "N", "NNP": "P", "NNPS": "P", "JJ": "A", "JJR": "A", "JJS": "A", "VBG": "G", "VBN": "E",
    "VBD": "F", "VB": "F", "VBP": "F", "VBZ": "F", "MD": "O", "DT": "D", "PDT": "D", "WDT": "O", "CD": "D",
    "PRP$": "D", "WP$": "D", "POS": "Q", "IN": "I", "RP": "R", "RB": "B", "RBR": "B", "RBS": "B", "TO": "T",
    "CC": "K", ",": "M", "PRP": "O", "WP": "O", "EX": "O", "FW": "N", "AFX": "A", "ADD": "O", "HYPH": "O",
}  # fmt: skip


def class_letter(word: str, lower: str, tag: str, first: bool) -> str:
    """Return a word's class, after repairing systematic mistakes of the taggers on captions."""
    if lower in COLORS and tag[:2] in ("NN", "JJ", "VB", "RB"):
        return "C" if tag != "NNS" else "N"
    if lower in ADJECTIVES:
        return "A"
    if lower in PLACE_ADVERBS and tag[:2] == "NN":
        return "B"
    if tag == "NNS" and lower[:-1] in COLORS and lower not in ("oranges", "creams", "peaches"):
        return "C"
    if lower in NOUNS and tag not in ("VB", "VBP", "VBG") and not (tag == "VBZ" and lower in ("skis", "pants")):
        return "N"
    letter = _CLASS.get(tag, "O")
    lexicon = load_lexicon()
    if letter == "P":
        if lower in COMMON_CAPITALS:
            return "N"
        if lower in lexicon["proper"]:
            return "P"
        if not first and word[0].isupper():
            return "N" if noun_lemma(lower) in lexicon["nouns"] and lower in lexicon["frequent"] else "P"
        if word[0].islower() or noun_lemma(lower) in lexicon["nouns"]:
            return "N"
        return "A" if lower in lexicon["adjs"] else "P"
    if letter == "N" and lower in lexicon["proper"] and lower not in COMMON_CAPITALS:
        return "P"
    if letter == "A" and lower not in lexicon["adjs"] and noun_lemma(lower) in lexicon["nouns"]:
        return "N"
    if letter == "N" and lower not in lexicon["nouns"] and lower in lexicon["adjs"] and lower not in MATERIALS:
        return "A" if noun_lemma(lower) not in lexicon["nouns"] else "N"
    if letter == "N" and tag == "NN" and lower.endswith("ed") and noun_lemma(lower) not in lexicon["nouns"]:
        return "A"
    if letter == "F" and "-" in lower and noun_lemma(lower.rsplit("-", 1)[1]) in lexicon["nouns"]:
        return "N"
    if letter == "A" and lower.endswith("ing") and lower not in lexicon["adjs"]:
        return "G"
    if letter == "F" and tag == "VBD" and lower.endswith("ed"):
        return "E"
    if letter == "O" and tag in ("UH", "XX", "LS") and noun_lemma(lower) in lexicon["nouns"]:
        return "N"
    return letter
