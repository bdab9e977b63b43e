"""Repair systematic mistakes that a tagger trained on newspapers makes on captions.

The evidence is how a word is tagged in many captions: "shorts" tagged as a verb once is a mistake, and "checks" after a
single singular noun in a caption without another verb is the verb.
"""

from __future__ import annotations

from collections.abc import Mapping

from anytag.language.parsing.lemmas import noun_lemma, verb_lemma
from anytag.language.parsing.lexicon import load_lexicon
from anytag.language.parsing.subjects import has_finite_verb, verb_of_subject

#: Share of a word's uses that one tag must have for the others to count as mistakes.
DOMINANT = 0.97
#: Share of verb readings from which context may turn a noun into a verb.
PLAUSIBLE = 0.3
_NOMINAL = frozenset({"NN", "NNS", "NNP", "NNPS"})
_SUBJECT = frozenset({"NN", "NNP", "NNS"})
_UNKNOWN_VERB = {"VBZ": 0.5}
_AFTER_GERUND = frozenset({"NN", "NNS", "DT", "IN", "PRP$", "RP"})
_AFTER_SECOND = frozenset({".", "IN", "DT", "PRP$"})
_AFTER_VERB = frozenset({"DT", "PRP$", "IN", "RP", "RB", "TO", "VBG", ".", "PRP", "CD", "WRB"})
_NO_VERBS = frozenset({"NN", "NNS", "NNP", "JJ", "RB"})


def repair_tags(lower: list[str], tags: list[str], shares: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the Penn tags of lower-case words with systematic mistakes repaired.

    ``shares`` are, for known words, the share of each tag among their uses in captions.
    """
    result = list(tags)
    last = len(lower) - 1
    for index, word in enumerate(lower):
        known = shares.get(word)
        if known is None:
            known = _UNKNOWN_VERB if result[index] == "NNS" and _only_a_verb(word) else {}
        tag = result[index]
        if known and known.get(tag, 0.0) < 1 - DOMINANT:
            best = max(known, key=known.__getitem__)
            if word in shares and known[best] >= DOMINANT:
                result[index] = tag = best
        if tag in _NO_VERBS and (verb := verb_of_subject(lower, result, index)) is not None:
            result[index] = verb
            if result[index - 1] in ("JJ", "NNP"):
                result[index - 1] = "NN"  # A subject is not an adjective.
            continue
        before = result[index - 1] if index else ""
        after = result[index + 1] if index < last else "."
        if tag in ("NN", "NNP", "JJ") and word.endswith("ing") and known.get("VBG", 0.0) > 0.5:
            # An -ing form that is mostly a verb, after a noun: "team red playing football".
            result[index] = "VBG" if before in _NOMINAL and after in _AFTER_GERUND else tag
        elif tag == "NN" and before == "TO" and after in ("DT", "PRP$") and verb_lemma(word) in load_lexicon()["verbs"]:
            result[index] = "VB"  # "to sign a book"
        elif tag == "VBZ" and known.get("NNS", 0.0) > 1 - DOMINANT and _is_plural(lower, result, index):
            result[index] = "NNS"  # "two bears", "price tags"
        elif tag == "NNS" and _is_subject(result, index) and known.get("VBZ", 0.0) > PLAUSIBLE:
            alone = _may_follow(after, known.get("VBZ", 0.0)) and not has_finite_verb(lower, result, index)
            result[index] = "VBZ" if alone and not _is_plural(lower, result, index) else tag
        elif tag == "NNS" and before == "CC" and known.get("VBZ", 0.0) > 0.3 and after in _AFTER_SECOND:
            # The second verb of one subject: "rides a swing and smiles".
            result[index] = "VBZ" if "VBZ" in result[:index] else tag
        elif tag == "NN" and before == "NNS" and known.get("VBP", 0.0) + known.get("VB", 0.0) > PLAUSIBLE:
            alone = after in _AFTER_VERB and not has_finite_verb(lower, result, index)
            result[index] = "VBP" if alone else tag
    return result


def _is_plural(lower: list[str], tags: list[str], index: int) -> bool:
    """Return whether a word in -s is surely a noun: after a number, or at the end of a known compound."""
    before = tags[index - 1] if index else ""
    counted = before == "CD" and not (index > 1 and tags[index - 2] in _SUBJECT)
    return counted or f"{lower[index - 1]} {noun_lemma(lower[index])}" in load_lexicon()["compounds"]


def _is_subject(tags: list[str], index: int) -> bool:
    """Return whether a subject may end before a word: a noun, or a noun with its number ("player number 23")."""
    before = tags[index - 1] if index else ""
    return before in _SUBJECT or (before == "CD" and index > 1 and tags[index - 2] in _SUBJECT)


def _only_a_verb(word: str) -> bool:
    lexicon = load_lexicon()
    return noun_lemma(word) not in lexicon["nouns"] and verb_lemma(word) in lexicon["verbs"]


def _may_follow(after: str, share: float) -> bool:
    """Return whether a word may follow a verb; a bare noun only if the verb is likely ("leaves smoke")."""
    return after in _AFTER_VERB or (after in ("NN", "NNS", "JJ") and share > 0.3)
