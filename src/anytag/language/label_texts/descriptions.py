"""Tag descriptions from WordNet and templates, which RAM++ asks for a tag with where no language model wrote any.

RAM++ has 51 a tag: "a photo of a …", and ten answers of GPT-3.5 to each of five questions (Huang et al., 2023, section
3.3); :mod:`anytag.language.label_texts.llm_descriptions` asks such models.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator

from anytag.errors import UsageError
from anytag.language.label_texts.description_files import TagDescriptions
from anytag.language.label_texts.description_templates import (
    Describable,
    NamedTag,
    plain_line,
    subject_of,
    template_lines,
)
from anytag.language.parsing.lemmas import noun_lemma, verb_lemma
from anytag.language.tags.wordnet import PartOfSpeech, Synset, WordNet
from anytag.model.names import normalize_name
from anytag.recognition import TagKind

#: Descriptions of a tag in RAM++.
PER_TAG = 51

#: What stands for the language model where there was none.
FROM_WORDNET, FROM_TEMPLATES = "WordNet glosses and templates", "templates"

_PARTS: dict[TagKind, tuple[PartOfSpeech, ...]] = {
    "object": ("noun",), "scene": ("noun",), "attribute": ("adj", "noun"), "action": ("verb",),
}  # fmt: skip
#: Senses of a name that are told of.
_SENSES = 3


def from_wordnet(
    tags: Iterable[Describable], glosses: WordNet | None, per_tag: int = PER_TAG
) -> Iterator[TagDescriptions]:
    """Descriptions without a language model: a plain line, what WordNet says, and templates; always the same.

    RAM++'s authors found glosses to help little beside a language model's words (appendix).

    Args:
        tags: What to describe.
        glosses: WordNet; ``None``: templates alone, with a warning.
        per_tag: Descriptions a tag, all different.

    Raises:
        UsageError: If there are not so many templates.
    """
    require_count(per_tag)
    if glosses is None:
        warnings.warn(
            "descriptions are made of templates alone, which tell a tag from others by its name only", stacklevel=2
        )
    for tag in tags:
        lines = DescriptionLines(per_tag)
        lines.add(plain_line(tag))
        # Half of the room is left to templates: glosses are many for few tags.
        for line in _gloss_lines(tag, glosses) if glosses else ():
            if len(lines.found) < (per_tag + 1) // 2:
                lines.add(line)
        for line in template_lines(tag):
            lines.add(line)
        if len(lines.found) < per_tag:
            raise UsageError(f"there are no more than {len(lines.found)} templates for {tag.name!r}; ask for fewer")
        yield TagDescriptions(tag.name, tuple(lines.found), tag.kind, FROM_WORDNET if glosses else FROM_TEMPLATES)


def _gloss_lines(tag: Describable, glosses: WordNet) -> Iterator[str]:
    subject = subject_of(tag)
    senses, whole = _senses(tag, glosses)
    for sense in senses:
        definition, examples = _split_gloss(sense.gloss)
        if not whole:
            # Only the last word is known: "folding chair" is a kind of chair.
            yield f"{subject}, a kind of {sense.words[0]}: {definition}."
            continue
        yield f"{subject}: {definition}."
        others = [word for word in sense.words[:4] if word != tag.name.lower()]
        if sense.part == "noun":
            yield f"a photo of {subject}, {definition}."
            yield from (f"{subject}, also called {word}." for word in others)
            yield from (f"{subject}, a kind of {one.words[0]}." for one in glosses.ancestors(sense)[:2])
        elif sense == senses[0]:
            yield from (plain_line(NamedTag(word, tag.kind)) for word in others)
        yield from (f"{example}." for example in examples[:2] if tag.name.lower() in example.lower())


def _senses(tag: Describable, glosses: WordNet) -> tuple[list[Synset], bool]:
    """First senses that fit the tag's kind, and whether they are of its whole name."""
    name = normalize_name(tag.name)
    first, _, last = name.rpartition(" ")
    head = noun_lemma(last)
    lemmas: tuple[str, ...] = (name,)
    if tag.kind == "action":
        verb, blank, rest = name.partition(" ")
        lemmas = (f"{verb_lemma(verb)}{blank}{rest}", name)
    elif tag.kind != "attribute":
        lemmas = (name, f"{first} {head}".strip(), head)
    for lemma in dict.fromkeys(lemmas):
        for part in _PARTS[tag.kind]:
            if found := glosses.synsets(lemma, part):
                if part == "noun":
                    # What a photo can show comes first: "crane" is a bird and a machine before it is a writer's name.
                    found.sort(key=lambda sense: not _is_physical(sense, glosses))
                whole = " " not in name or lemma != head or tag.kind == "action"
                return found[: _SENSES if whole else 1], whole
    return [], False


def _is_physical(sense: Synset, glosses: WordNet) -> bool:
    return any("physical entity" in one.words for one in glosses.ancestors(sense))


def _split_gloss(gloss: str) -> tuple[str, list[str]]:
    """Definition and examples: ``bird of prey; "the owl hooted"``."""
    definition, *examples = re.split(r';\s*(?=")', gloss)
    return definition.strip(" ;."), [example.strip('"; .!?') for example in examples]


class DescriptionLines:
    """Different lines, as many as are wanted.

    Args:
        limit: How many.
    """

    def __init__(self, limit: int):
        self.limit, self.found = limit, list[str]()
        self._seen: set[str] = set()

    def add(self, line: str) -> None:
        """Take a line, unless it is there or there are enough."""
        if len(self.found) < self.limit and line.lower() not in self._seen:
            self._seen.add(line.lower())
            self.found.append(line)


def require_count(per_tag: int) -> None:
    """Refuse fewer than one description a tag."""
    if per_tag < 1:
        raise UsageError(f"{per_tag} descriptions a tag are too few; give 1 or more, {PER_TAG} as RAM++ has")
