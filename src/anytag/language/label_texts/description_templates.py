"""Questions to a language model about tags, and sentence templates that need none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from anytag.language.parsing.lemmas import noun_lemma, verb_lemma
from anytag.language.parsing.lexicon import PLURAL_NAMES
from anytag.recognition import TagKind


class Describable(Protocol):
    """Something with a name and kind, such as a vocabulary's tag."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> TagKind: ...


#: The five questions of RAM++ (Huang et al., 2023, section 3.3 and appendix), in other words.
QUESTIONS = (
    "In one short sentence, say what {subject} looks like in a photo.",
    "By which visible signs can one tell that a photo shows {subject}? Answer in one sentence.",
    "Picture {subject} to a reader who has never seen it, in one sentence.",
    "Which features set {subject} apart from what looks similar? Answer in one sentence.",
    "Give shape, colors, texture and usual surroundings of {subject} in one short sentence.",
)
#: Appended to every question.
_MANNER = ' Use the words "{name}" in it, and write nothing but the sentence.'

_VIEWS = (
    "a photo of",
    "a close-up of",
    "a bright photo of",
    "a dark photo of",
    "a blurry photo of",
    "a wide shot of",
    "a cropped photo of",
    "a black and white photo of",
    "a snapshot of",
    "a frame of a video of",
    "a painting of",
    "a drawing of",
)
_SETTINGS: dict[TagKind, tuple[str, ...]] = {
    "object": (
        "", " in the foreground", " in the background", " seen from the side", " seen from above", " next to a person",
        " outdoors", " indoors", " in front of a plain background", " among other things", " that is partly hidden",
    ),
    "scene": (
        "", " by day", " by night", " in summer", " in winter", " with people", " without people", " from above",
        " from eye level", " in the rain", " in the far distance",
    ),
    "attribute": (
        "", " in the foreground", " in the background", " in bright light", " in the shade", " outdoors", " indoors",
        " in front of a plain background", " next to a person", " among other things", " from afar",
    ),
    "action": (
        "", " alone", " in a group", " outdoors", " indoors", " seen from behind", " seen from the front",
        " by day", " by night", " in the foreground", " from afar",
    ),
}  # fmt: skip

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
    return [(question + _MANNER).format(subject=subject, name=tag.name) for question in QUESTIONS]


def template_lines(tag: Describable) -> Iterator[str]:
    """Yield different sentences about a tag that only vary how a photo may show it, the most different first."""
    subject, settings = subject_of(tag), _SETTINGS[tag.kind]
    for shift in range(len(settings)):
        for number, view in enumerate(_VIEWS):
            yield f"{view} {subject}{settings[(number + shift) % len(settings)]}."
