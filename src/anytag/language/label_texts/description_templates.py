"""Questions to a language model about tags, and sentence templates that need none."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any, Protocol

from anytag.language.data_files import read_data
from anytag.language.parsing.lemmas import noun_lemma, verb_lemma
from anytag.language.parsing.lexicon import PLURAL_NAMES
from anytag.recognition import TagKind


class Describable(Protocol):
    """Something with a name and kind, such as a vocabulary's tag."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> TagKind: ...


_TABLES: dict[str, Any] = tomllib.loads(read_data("descriptions.toml"))

QUESTIONS: tuple[str, ...] = tuple(_TABLES["questions"])

_AN = re.compile(r"(?!one\b|once|eu|ewe|u(?:ni(?!n|m)|s[aeu]|t[ei]|k|fo))[aeiou]|hour|honest|heir", re.IGNORECASE)
#: Monosyllabic verbs that double their last letter: one vowel (also after "qu"), one consonant.
_DOUBLED = re.compile(r"(?:[^aeiou]*|[^aeiou]*qu)[aeiou][bdgklmnprt]|begin|forget")


def with_article(name: str) -> str:
    """Put "a" or "an" before a noun, unless it is a plural ("glasses")."""
    head = name.lower().partition(" of ")[0].rpartition(" ")[2]
    named_as_plural = head.endswith("sses") or (head in PLURAL_NAMES and not head.endswith(("ss", "us")))
    if named_as_plural or noun_lemma(head) != head:
        return name
    return f"{'an' if _AN.match(name) else 'a'} {name}"


def gerund(name: str) -> str:
    """Return the -ing form of a verb, also with a particle: "ride" to "riding", "pick up" to "picking up"."""
    verb, blank, rest = name.partition(" ")
    if not verb or (verb.endswith("ing") and verb_lemma(verb) != verb):
        return name
    if verb.endswith("ie"):
        stem = verb[:-2] + "y"
    elif verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and verb != "be":
        stem = verb[:-1]
    elif _DOUBLED.fullmatch(verb):
        stem = verb + verb[-1]
    else:
        stem = f"{verb}k" if verb.endswith("ic") else verb
    return f"{stem}ing{blank}{rest}"


def subject_of(tag: Describable) -> str:
    """Return what a photo of the tag shows: "an owl", "something red", "someone or something running"."""
    if tag.kind == "action":
        return f"someone or something {gerund(tag.name)}"
    return f"something {tag.name}" if tag.kind == "attribute" else with_article(tag.name)


def plain_line(tag: Describable) -> str:
    """Return the description that needs no knowledge."""
    return f"a photo of {subject_of(tag)}."


def questions(tag: Describable) -> list[str]:
    """Return the five questions about a tag."""
    subject = subject_of(tag)
    return [(question + _TABLES["manner"]).format(subject=subject, name=tag.name) for question in QUESTIONS]


def template_lines(tag: Describable) -> Iterator[str]:
    """Yield different sentences about a tag that only vary how a photo may show it, the most different first."""
    subject, settings = subject_of(tag), _TABLES["settings"][tag.kind]
    for shift in range(len(settings)):
        for number, view in enumerate(_TABLES["views"]):
            yield f"{view} {subject}{settings[(number + shift) % len(settings)]}."
