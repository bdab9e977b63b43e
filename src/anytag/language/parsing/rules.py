"""Rules that turn words with Penn part-of-speech tags into picture tags; all taggers share them.

``tests/language/GOLD.md`` defines what counts as a tag, and of which kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from anytag.language.parsing.lemmas import adjective_lemma, noun_lemma, verb_lemma
from anytag.language.parsing.lexicon import (
    ABSTRACT_NOUNS,
    ADJECTIVES,
    BEINGS,
    CATENATIVE_VERBS,
    COLORS,
    COMMON_CAPITALS,
    COVERED,
    FUNCTION_ADJECTIVES,
    FUNCTION_NOUNS,
    IDIOMS,
    ING_NOUNS,
    LIGHT_VERBS,
    LINKING_VERBS,
    MATERIAL_NAMES,
    MATERIALS,
    NAMED_KINDS,
    NOUNS,
    PHRASAL_VERBS,
    PICTURE_NOUNS,
    PRONOUNS,
    QUANTITY_NOUNS,
    SAME_NAME,
    SHADES,
    SHOWING_VERBS,
    load_lexicon,
    scene_names,
)
from anytag.language.parsing.word_classes import class_letter
from anytag.recognition import TagKind


@dataclass(frozen=True, slots=True)
class ParsedTag:
    """A tag that a caption names.

    Attributes:
        name: Lower case; nouns in the singular, verbs in the base form, blanks between the words of a compound.
    """

    name: str
    kind: TagKind


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
    """Split a hyphenated noun ("knee-pads"), unless its name is written so ("t-shirt")."""
    if "-" not in word or word in NOUNS or word in SAME_NAME:
        return [word]
    parts = [part for part in word.split("-") if part]
    whole = all(len(part) > 2 for part in parts) and noun_lemma(parts[-1]) in load_lexicon()["nouns"]
    return parts if whole else [word]


def extract(words: Sequence[str], tags: Sequence[str]) -> list[ParsedTag]:
    """Return the tags of a caption in order of appearance, without duplicates.

    ``words`` are tokens in their original case, and ``tags`` their Penn Treebank part-of-speech tags.
    """
    extraction = _Extraction(words, tags)
    extraction.run()
    return list(extraction.tags_found)


class _Extraction:
    """One pass over one caption."""

    def __init__(self, words: Sequence[str], tags: Sequence[str]):
        self.lower = [word.lower() for word in words]
        self.tags = list(tags)
        self.classes = [
            class_letter(word, low, tag, index == 0)
            for index, (word, low, tag) in enumerate(zip(words, self.lower, tags, strict=True))
        ]
        self._mark_names(words)
        self.tags_found: dict[ParsedTag, None] = {}
        # Attributes of the next noun, dropped if that noun is no tag ("a large group of people").
        self.pending_attributes: list[ParsedTag] = []
        self.has_verb = False
        self.last_noun = ""
        self._merge_named()

    def _mark_names(self, words: Sequence[str]) -> None:
        """Mark proper names: two capitalized words in a row ("Santa Claus"), or a word in capitals ("US")."""
        capital = [word[0].isupper() for word in words]
        if 2 * sum(capital) > len(words):
            return
        for index in range(len(words)):
            if not capital[index] or self.lower[index] in COMMON_CAPITALS:
                continue
            shouted = len(words[index]) > 1 and words[index].isupper()
            pair = index > 0 and ((index > 1 and capital[index - 1]) or (index + 1 < len(words) and capital[index + 1]))
            if (shouted or pair) and self.classes[index] in "NPA" and self.lower[index] not in ADJECTIVES:
                self.classes[index] = "P"

    def _merge_named(self) -> None:
        """Merge names such as "hot dog" and "hard hat" into one noun."""
        table = _named_by_first_word()
        spellings: dict[str, str] = load_lexicon()["spellings"]
        index = 0
        while index < len(self.lower):
            for name in table.get(self.lower[index], ()):
                end = index + len(name)
                window = self.lower[index:end]
                if name in (tuple(window), (*window[:-1], noun_lemma(window[-1]) if window else "")):
                    self.lower[index:end] = [" ".join((*window[:-1], noun_lemma(window[-1])))]
                    self.tags[index:end] = ["NN"]
                    self.classes[index:end] = ["N"]
                    break
            else:
                if self.classes[index] in "NA" and self._class(index + 1) == "N":
                    pair = f"{self.lower[index]} {noun_lemma(self.lower[index + 1])}"
                    if pair in spellings:
                        self.lower[index : index + 2] = [spellings[pair]]
                        self.tags[index : index + 2] = ["NN"]
                        self.classes[index : index + 2] = ["N"]
            index += 1

    def _class(self, index: int) -> str:
        """Return the class of a word; "edge" before the first and after the last one."""
        return self.classes[index] if 0 <= index < len(self.classes) else "edge"

    def _word(self, index: int) -> str:
        return self.lower[index] if 0 <= index < len(self.lower) else ""

    def _after_adverbs(self, index: int) -> int:
        while self._class(index) == "B":
            index += 1
        return index

    def run(self) -> None:
        classes = self.classes
        index = 0
        while index < len(classes):
            letter = classes[index]
            if letter == "N" or (letter in "GC" and self._opens_compound(index)):
                index = self._noun_run(index)
                self.pending_attributes.clear()
                continue
            if letter not in "ACMK":
                self.pending_attributes.clear()
            if letter == "A":
                self._adjective(index)
            elif letter == "C":
                self._add(self.lower[index], "attribute")
            elif letter in "GEF":
                self._verb(index)
            index += 1

    def _opens_compound(self, index: int) -> bool:
        """Return whether an -ing form or color is the first word of a compound noun ("swimming pool")."""
        if self._class(index + 1) != "N":
            return False
        if self.classes[index] == "C" and self.lower[index] not in ("cream", "orange"):
            return False
        if self.lower[index] in ("riding", "drinking", "eating", "wearing", "holding"):
            return False  # More likely a verb with its object: "riding horses".
        return f"{self.lower[index]} {noun_lemma(self.lower[index + 1])}" in load_lexicon()["compounds"]

    def _noun_run(self, start: int) -> int:
        end = start + 1
        while self._class(end) == "N":
            end += 1
        words = [part for word in self.lower[start:end] for part in _unhyphened(word)]
        if self._word(end) in COVERED and self._class(end + 1) in ("N", "A", "C"):
            # "a snow covered mountain", also with a hyphen.
            self._add("-".join((words[-1], self.lower[end])), "attribute")
            return end + 1
        while len(words) > 1:
            first = words[0]
            is_color = first in COLORS and first not in ("cream", "orange")
            if is_color or first in MATERIALS or first in ADJECTIVES or first in MATERIAL_NAMES:
                self._add(first, "attribute")
            elif first not in QUANTITY_NOUNS:
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
        following = self._word(end)
        if len(words) == 1:
            self.last_noun = words[0]
            if self._is_function_noun(words[0], head, following, end):
                for tag in self.pending_attributes:
                    self.tags_found.pop(tag, None)
                return
        if head == "glasses" and (following == "of" or words[-2:-1] in (["wine"], ["beer"], ["champagne"])):
            head = "glass"
        is_compound = " ".join((*words[:-1], head)) in load_lexicon()["compounds"]
        if head in FUNCTION_NOUNS and len(words) > 1 and not is_compound:
            words, head = words[:-1], noun_lemma(words[-2])
        name = self._compound(words, head)
        name = load_lexicon()["spellings"].get(name, name)
        name = SAME_NAME.get(name, name)
        if len(name) < 2 or name in PRONOUNS:
            return
        kind: TagKind = "scene" if name in scene_names() or name.rsplit(" ", 1)[-1] in scene_names() else "object"
        self._add(name, kind)

    def _is_function_noun(self, word: str, head: str, following: str, end: int) -> bool:
        if word == "top" and following != "of" and self._class(end - 2) in ("C", "A", "E"):
            return False  # The garment.
        if f"{self._word(end - 2)} {word}" in IDIOMS:
            return True
        if word in ("couple", "couples"):
            return following in ("of", "")
        if word in PICTURE_NOUNS:
            return following in ("of", "with", "showing", "shows", "taken") and not self.has_verb
        return word in FUNCTION_NOUNS or head in FUNCTION_NOUNS or head in ABSTRACT_NOUNS

    def _compound(self, words: list[str], head: str) -> str:
        """Return a compound's name: both of two words; of more, the longest known name at the end, or the last two."""
        if len(words) > 2:
            known = load_lexicon()["compounds"]
            for first in range(len(words) - 1):
                name = " ".join((*words[first:-1], head))
                if name in known or name in NAMED_KINDS or " ".join(words[first : first + 2]) in known:
                    return name
            words = words[-2:]
        return " ".join((*words[:-1], head))

    def _adjective(self, index: int) -> None:
        word = self.lower[index]
        if word in FUNCTION_ADJECTIVES or len(word) < 2:
            return
        if word in SHADES and self._class(index + 1) == "C":
            return
        if word == "colored" and self._class(index - 1) == "C":
            return
        self._add(adjective_lemma(word), "attribute")

    def _verb(self, index: int) -> None:
        word, letter = self.lower[index], self.classes[index]
        if letter in "GE" and self._is_prenominal(index):
            self.pending_attributes.clear()
            if word == "colored" and self._class(index - 1) == "C":
                return
            if word not in FUNCTION_ADJECTIVES:
                self._add(word, "attribute")
            return
        lemma = verb_lemma(word)
        after = self._after_adverbs(index + 1)
        following = self._word(after)
        if lemma in LIGHT_VERBS or len(lemma) < 2:
            self.has_verb = self.has_verb or lemma == "have"
            return
        if lemma == "look" and following == "like":
            return
        if lemma in LINKING_VERBS and self._class(index + 1) == "A" and self._class(index + 2) not in ("N", "A", "C"):
            return  # "looks upset", not "looks upset people".
        if lemma in CATENATIVE_VERBS and self._verb_follows(after):
            return
        if lemma in SHOWING_VERBS and (letter == "E" or self.last_noun in PICTURE_NOUNS):
            return
        self.has_verb = True
        if following and self.tags[after] == "RP" and f"{lemma} {following}" in PHRASAL_VERBS:
            lemma = f"{lemma} {following}"
        self._add(lemma, "action")

    def _verb_follows(self, index: int) -> bool:
        if self._word(index) == "to":
            return self._class(self._after_adverbs(index + 1)) == "F"
        return self._class(index) == "G"

    def _is_prenominal(self, index: int) -> bool:
        """Return whether a participle describes the noun after it ("parked cars", "a smiling woman")."""
        after = index + 1
        while self._class(after) in ("A", "C"):
            after += 1
        if self._class(after) != "N":
            return False
        before = index - 1
        while self._class(before) == "B":
            before -= 1
        left = self._class(before)
        if self.classes[index] == "E":
            return left not in ("N", "F", "O", "P", "G")
        being = self.lower[after] in BEINGS and after == index + 1
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
        return being and (left in ("edge", "K", "M") or (left == "I" and self.lower[before] == "of"))

    def _add(self, name: str, kind: TagKind) -> None:
        if kind == "attribute" and name[-1:] == "s" and name[:-1] in COLORS:
            name = name[:-1]
        name = SAME_NAME.get(name, name)
        tag = ParsedTag(name, kind)
        if tag not in self.tags_found and any(c.isalpha() for c in name):
            self.tags_found[tag] = None
            if kind == "attribute":
                self.pending_attributes.append(tag)
