"""From words and Penn part-of-speech tags to picture tags: the part of the parser that all taggers share.

What counts as a tag, and of which kind, is written down in ``tests/language/GOLD.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from anytag.language.parsing.lemmas import adjective_lemma, load_lexicon, noun_lemma, verb_lemma
from anytag.language.parsing.lexicon import (
    ABSTRACT_NOUNS,
    ADJECTIVES,
    CATENATIVE,
    COLORS,
    FUNCTION_ADJECTIVES,
    FUNCTION_NOUNS,
    IDIOMS,
    ING_NOUNS,
    LIGHT_VERBS,
    MATERIALS,
    NAMED_KINDS,
    NOUNS,
    PHRASAL,
    PICTURE_NOUNS,
    PRONOUN_LIKE,
    SAME_NAME,
    SHOWING,
    scene_names,
)
from anytag.language.parsing.lexicon import words as word_set
from anytag.language.parsing.word_classes import COMMON_CAPITALS, class_letter
from anytag.recognition import TagKind


@dataclass(frozen=True, slots=True)
class ParsedTag:
    """A tag that a caption names.

    Attributes:
        name: Lower case; nouns in the singular, verbs in the base form, blanks between the words of a compound.
        kind: What sort of thing it names.
    """

    name: str
    kind: TagKind


#: Nouns that no verb has as its object in "smiling girl": the -ing form tells how they are.
_BEINGS = word_set(
    "man woman person child boy girl baby toddler kid lady guy dog cat horse bird adult couple player crowd people "
    "men women children boys girls kids ladies guys dogs cats horses birds adults players friend friends worker "
    "workers"
)
#: Named kinds that tell what something is made of.
_MATERIAL_NAMES = frozenset(
    {"stainless steel", "wrought iron", "stained glass", "polka dot", "african american", "native american"}
)
#: Verbs that link when an adjective follows: "looks upset", "gets ready".
_LINKS = word_set("look get go turn keep feel grow")
#: Participles that make an adjective of the noun before them.
_COVERED = word_set(
    "covered shaped colored coloured lined filled topped themed capped clad drawn haired sleeved sized styled faced"
)
_SHADES = word_set("light dark bright pale deep")


@cache
def _named_by_first_word() -> dict[str, list[tuple[str, ...]]]:
    table: dict[str, list[tuple[str, ...]]] = {}
    for name in NAMED_KINDS:
        words = tuple(name.split())
        table.setdefault(words[0], []).append(words)
    for names in table.values():
        names.sort(key=len, reverse=True)
    return table


def _unhyphened(word: str) -> list[str]:
    """The words of a hyphened noun ("knee-pads"); names that are written so stay ("t-shirt")."""
    if "-" not in word or word in NOUNS or word in SAME_NAME:
        return [word]
    parts = [part for part in word.split("-") if part]
    whole = all(len(part) > 2 for part in parts) and noun_lemma(parts[-1]) in load_lexicon()["nouns"]
    return parts if whole else [word]


def extract(words: Sequence[str], tags: Sequence[str]) -> list[ParsedTag]:
    """Tags of a tagged caption, in order of appearance, without duplicates.

    Args:
        words: Tokens in their original case.
        tags: Their Penn Treebank part-of-speech tags, as many.
    """
    reading = _Reading(words, tags)
    reading.run()
    return list(reading.found)


class _Reading:
    """One pass over one caption."""

    def __init__(self, words: Sequence[str], tags: Sequence[str]):
        self.lower = [word.lower() for word in words]
        self.tags = list(tags)
        self.classes = [
            class_letter(word, low, tag, place == 0)
            for place, (word, low, tag) in enumerate(zip(words, self.lower, tags, strict=True))
        ]
        self._mark_names(words)
        self.found: dict[ParsedTag, None] = {}
        # Attributes of the noun to come; they go if it turns out to be no tag ("a large group of people").
        self.recent: list[ParsedTag] = []
        self.seen_verb = False
        self.last_noun = ""
        self._merge_named()

    def _mark_names(self, words: Sequence[str]) -> None:
        """Two capitals in a row are a name ("Santa Claus"), and so is one in capitals throughout ("US")."""
        capital = [word[0].isupper() for word in words]
        if 2 * sum(capital) > len(words):
            return
        for place in range(len(words)):
            if not capital[place] or self.lower[place] in COMMON_CAPITALS:
                continue
            shouted = len(words[place]) > 1 and words[place].isupper()
            pair = place > 0 and ((place > 1 and capital[place - 1]) or (place + 1 < len(words) and capital[place + 1]))
            if (shouted or pair) and self.classes[place] in "NPA" and self.lower[place] not in ADJECTIVES:
                self.classes[place] = "P"

    def _merge_named(self) -> None:
        """Make one noun of "hot dog", "hard hat" and the like."""
        table = _named_by_first_word()
        spellings: dict[str, str] = load_lexicon()["spellings"]
        place = 0
        while place < len(self.lower):
            for name in table.get(self.lower[place], ()):
                end = place + len(name)
                window = self.lower[place:end]
                if name in (tuple(window), (*window[:-1], noun_lemma(window[-1]) if window else "")):
                    self.lower[place:end] = [" ".join((*window[:-1], noun_lemma(window[-1])))]
                    self.tags[place:end] = ["NN"]
                    self.classes[place:end] = ["N"]
                    break
            else:
                if self.classes[place] in "NA" and self.classes[place + 1 : place + 2] == ["N"]:
                    pair = f"{self.lower[place]} {noun_lemma(self.lower[place + 1])}"
                    if pair in spellings:
                        self.lower[place : place + 2] = [spellings[pair]]
                        self.tags[place : place + 2] = ["NN"]
                        self.classes[place : place + 2] = ["N"]
            place += 1

    def run(self) -> None:
        classes = self.classes
        place = 0
        while place < len(classes):
            letter = classes[place]
            if letter == "N" or (letter in "GC" and self._opens_compound(place)):
                place = self._noun_run(place)
                self.recent.clear()
                continue
            if letter not in "ACMK":
                self.recent.clear()
            if letter == "A":
                self._adjective(place)
            elif letter == "C":
                self._add(self.lower[place], "attribute")
            elif letter in "GEF":
                self._verb(place)
            place += 1

    def _opens_compound(self, place: int) -> bool:
        """Whether an -ing form or color word and the noun after it are one name ("swimming pool")."""
        if place + 1 >= len(self.classes) or self.classes[place + 1] != "N":
            return False
        if self.classes[place] == "C" and self.lower[place] not in ("cream", "orange"):
            return False
        return f"{self.lower[place]} {noun_lemma(self.lower[place + 1])}" in load_lexicon()["compounds"] and (
            self.classes[place] == "C" or not self._takes_object(place)
        )

    def _takes_object(self, place: int) -> bool:
        """Whether an -ing form before a noun is more likely a verb with its object ("riding horses")."""
        return self.lower[place] in ("riding", "drinking", "eating", "wearing", "holding")

    def _noun_run(self, start: int) -> int:
        end = start + 1
        while end < len(self.classes) and self.classes[end] == "N":
            end += 1
        # A color between nouns or a noun run broken by nothing else ends the run.
        words = [part for word in self.lower[start:end] for part in _unhyphened(word)]
        if (
            self.lower[end : end + 1]
            and self.lower[end] in _COVERED
            and self.classes[end + 1 : end + 2] in (["N"], ["A"], ["C"])
        ):
            # "a snow covered mountain", also written with a hyphen
            self._add("-".join((words[-1], self.lower[end])), "attribute")
            return end + 1
        while len(words) > 1:
            first = words[0]
            if (
                (first in COLORS and first not in ("cream", "orange"))
                or first in MATERIALS
                or first in ADJECTIVES
                or first in _MATERIAL_NAMES
            ):
                self._add(first, "attribute")
            elif first not in (
                "couple",
                "lot",
                "bunch",
                "pair",
                "group",
                "lots",
                "background",
                "dozen",
                "left",
                "right",
            ):
                break
            words = words[1:]
        head = words[-1]
        if len(words) > 1 and head.endswith("ing") and self._is_activity(head):
            for word in words[:-1]:
                self._noun([word], start)
            self._add(verb_lemma(head), "action")
        elif head.endswith("ing") and self._is_activity(head) and self.classes[start] == "N":
            self._add(verb_lemma(head), "action")
        else:
            self._noun(words, end)
        return end

    def _is_activity(self, word: str) -> bool:
        return word not in ING_NOUNS and verb_lemma(word) in load_lexicon()["verbs"]

    def _noun(self, words: list[str], end: int) -> None:
        head = noun_lemma(words[-1])
        following = self.lower[end] if end < len(self.lower) else ""
        if len(words) == 1:
            self.last_noun = words[0]
            if self._is_function_noun(words[0], head, following, end):
                for tag in self.recent:
                    self.found.pop(tag, None)
                return
        if (head == "glasses" and following == "of") or (
            words[-2:-1] in (["wine"], ["beer"], ["champagne"]) and head == "glasses"
        ):
            head = "glass"
        if (
            head in FUNCTION_NOUNS
            and len(words) > 1
            and " ".join((*words[:-1], head)) not in load_lexicon()["compounds"]
        ):
            words, head = words[:-1], noun_lemma(words[-2])
        name = self._compound(words, head)
        name = load_lexicon()["spellings"].get(name, name)
        name = SAME_NAME.get(name, name)
        if len(name) < 2 or name in PRONOUN_LIKE:
            return
        kind: TagKind = "scene" if name in scene_names() or name.rsplit(" ", 1)[-1] in scene_names() else "object"
        self._add(name, kind)

    def _is_function_noun(self, word: str, head: str, following: str, end: int) -> bool:
        previous = self.lower[end - 2] if end > 1 else ""
        if word == "top" and following != "of" and self.classes[end - 2 : end - 1] in (["C"], ["A"], ["E"]):
            return False  # worn, not "on top"
        if f"{previous} {word}" in IDIOMS:
            return True
        if word in ("couple", "couples"):
            return following == "of" or following == ""
        if word in PICTURE_NOUNS:
            return following in ("of", "with", "showing", "shows", "taken") and not self.seen_verb
        return word in FUNCTION_NOUNS or head in FUNCTION_NOUNS or head in ABSTRACT_NOUNS

    def _compound(self, words: list[str], head: str) -> str:
        """Name of a noun run: two words are one; of more, the longest end that is a known name, or the last two."""
        if len(words) > 2:
            known = load_lexicon()["compounds"]
            for first in range(len(words) - 1):
                name = " ".join((*words[first:-1], head))
                if name in known or name in NAMED_KINDS or " ".join(words[first : first + 2]) in known:
                    return name
            words = words[-2:]
        return " ".join((*words[:-1], head))

    def _adjective(self, place: int) -> None:
        word = self.lower[place]
        if word in FUNCTION_ADJECTIVES or len(word) < 2:
            return
        following = self.classes[place + 1] if place + 1 < len(self.classes) else ""
        if word in _SHADES and following == "C":
            return
        if word == "colored" and place and self.classes[place - 1] == "C":
            return
        self._add(adjective_lemma(word), "attribute")

    def _verb(self, place: int) -> None:
        word, letter = self.lower[place], self.classes[place]
        if letter in "GE" and self._is_prenominal(place):
            self.recent.clear()
            if word == "colored" and place and self.classes[place - 1] == "C":
                return
            if word not in FUNCTION_ADJECTIVES:
                self._add(word, "attribute")
            return
        lemma = verb_lemma(word)
        after = place + 1
        while after < len(self.classes) and self.classes[after] == "B":
            after += 1
        following = self.lower[after] if after < len(self.lower) else ""
        if lemma in LIGHT_VERBS or len(lemma) < 2:
            self.seen_verb = self.seen_verb or lemma == "have"
            return
        if lemma == "look" and following == "like":
            return
        if (
            lemma in _LINKS
            and after == place + 1
            and self.classes[after : after + 1] == ["A"]
            and self._ends_phrase(after)
        ):
            return
        if lemma in CATENATIVE and self._verb_follows(after):
            return
        if lemma in SHOWING and (letter == "E" or self.last_noun in PICTURE_NOUNS):
            return
        self.seen_verb = True
        if following and self.tags[after] == "RP" and f"{lemma} {following}" in PHRASAL:
            lemma = f"{lemma} {following}"
        self._add(lemma, "action")

    def _ends_phrase(self, place: int) -> bool:
        """Whether no noun follows the adjective there: "looks upset", not "looks upset people"."""
        return self.classes[place + 1 : place + 2] not in (["N"], ["A"], ["C"])

    def _verb_follows(self, place: int) -> bool:
        if place < len(self.classes) and self.classes[place] == "G":
            return True
        if place < len(self.lower) and self.lower[place] == "to":
            place += 1
            while place < len(self.classes) and self.classes[place] == "B":
                place += 1
            return place < len(self.classes) and self.classes[place] == "F"
        return False

    def _is_prenominal(self, place: int) -> bool:
        """Whether a participle stands before the noun that it describes ("parked cars", "a smiling woman")."""
        after = place + 1
        while after < len(self.classes) and self.classes[after] in "AC":
            after += 1
        if after >= len(self.classes) or self.classes[after] != "N":
            return False
        before = place - 1
        while before >= 0 and self.classes[before] == "B":
            before -= 1
        left = self.classes[before] if before >= 0 else "start"
        if self.classes[place] == "E":
            return left not in ("N", "F", "O", "P", "G")
        being = self.lower[after] in _BEINGS and after == place + 1
        if left == "D":
            return (self.tags[before] != "CD" and self.lower[before] not in ("one", "some", "another")) or being
        if left == "C":
            return being
        if left == "I" and self.lower[before] in ("in", "with", "on", "at", "near"):
            return True
        if left == "A" and self.lower[before] in FUNCTION_ADJECTIVES:
            return being
        if left in ("A", "Q"):
            return self.lower[before] not in ("other", "others")
        return being and (left in ("start", "K", "M") or (left == "I" and self.lower[before] == "of"))

    def _add(self, name: str, kind: TagKind) -> None:
        if kind == "attribute" and name[-1:] == "s" and name[:-1] in COLORS:
            name = name[:-1]
        name = SAME_NAME.get(name, name)
        tag = ParsedTag(name, kind)
        if tag not in self.found and any(c.isalpha() for c in name):
            self.found[tag] = None
            if kind == "attribute":
                self.recent.append(tag)
