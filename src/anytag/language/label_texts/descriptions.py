"""Tag descriptions for RAM++ from WordNet and templates, without a language model.

RAM++ has 51 per tag: "a photo of a …", and ten answers of GPT-3.5 to each of five questions (Huang et al., 2023,
section 3.3). :mod:`anytag.language.label_texts.llm_descriptions` asks such models.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator

from anytag.errors import UsageError
from anytag.language.label_texts.description_files import TagDescriptions
from anytag.language.label_texts.description_templates import Describable, plain_line, subject_of, template_lines
from anytag.language.parsing.lemmas import noun_lemma, verb_lemma
from anytag.language.parsing.rules import ParsedTag
from anytag.language.tags.wordnet import PartOfSpeech, Synset, WordNet
from anytag.model.names import normalize_name
from anytag.recognition import TagKind

#: Descriptions per tag in RAM++.
PER_TAG = 51

#: Names in place of a language model's.
FROM_WORDNET, FROM_TEMPLATES = "WordNet glosses and templates", "templates"

_PARTS: dict[TagKind, tuple[PartOfSpeech, ...]] = {
    "object": ("noun",), "scene": ("noun",), "attribute": ("adj", "noun"), "action": ("verb",),
}  # fmt: skip
#: Most senses of a name to describe.
_SENSES = 3


def from_wordnet(
    tags: Iterable[Describable], glosses: WordNet | None, per_tag: int = PER_TAG
) -> Iterator[TagDescriptions]:
    """Describe tags without a language model, deterministically: by a plain line, WordNet's glosses, and templates.

    RAM++'s authors found that glosses help little beside a language model's descriptions (appendix).

    Args:
        tags: Tags to describe.
        glosses: WordNet; ``None``: only templates, with a warning.
        per_tag: Descriptions per tag, all different.

    Raises:
        UsageError: If there are too few templates.
    """
    require_count(per_tag)
    if glosses is None:
        warnings.warn(
            "descriptions are made of templates alone, which tell a tag from others by its name only", stacklevel=2
        )
    for tag in tags:
        # Glosses get at most half of the lines: only a few tags have many.
        lines = distinct([plain_line(tag), *(_gloss_lines(tag, glosses) if glosses else ())], (per_tag + 1) // 2)
        lines = distinct([*lines, *template_lines(tag)], per_tag)
        if len(lines) < per_tag:
            raise UsageError(f"there are no more than {len(lines)} templates for {tag.name!r}; ask for fewer")
        yield TagDescriptions(tag.name, tuple(lines), tag.kind, FROM_WORDNET if glosses else FROM_TEMPLATES)


def _gloss_lines(tag: Describable, glosses: WordNet) -> Iterator[str]:
    subject = subject_of(tag)
    senses, is_whole_name = _senses(tag, glosses)
    for sense in senses:
        definition, examples = _split_gloss(sense.gloss)
        if not is_whole_name:
            # "folding chair" is a kind of chair.
            yield f"{subject}, a kind of {sense.words[0]}: {definition}."
            continue
        yield f"{subject}: {definition}."
        others = [word for word in sense.words[:4] if word != tag.name.lower()]
        if sense.part == "noun":
            yield f"a photo of {subject}, {definition}."
            yield from (f"{subject}, also called {word}." for word in others)
            yield from (f"{subject}, a kind of {one.words[0]}." for one in glosses.ancestors(sense)[:2])
        elif sense == senses[0]:
            yield from (plain_line(ParsedTag(word, tag.kind)) for word in others)
        yield from (f"{example}." for example in examples[:2] if tag.name.lower() in example.lower())


def _senses(tag: Describable, glosses: WordNet) -> tuple[list[Synset], bool]:
    """Return the first senses that fit the tag's kind, and whether they are senses of its whole name."""
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
                    # Visible things first: "crane" is a bird and a machine before it is a writer's name.
                    found.sort(key=lambda sense: not _is_physical(sense, glosses))
                whole = " " not in name or lemma != head or tag.kind == "action"
                return found[: _SENSES if whole else 1], whole
    return [], False


def _is_physical(sense: Synset, glosses: WordNet) -> bool:
    return any("physical entity" in one.words for one in glosses.ancestors(sense))


def _split_gloss(gloss: str) -> tuple[str, list[str]]:
    """Split a gloss into its definition and examples: ``bird of prey; "the owl hooted"``."""
    definition, *examples = re.split(r';\s*(?=")', gloss)
    return definition.strip(" ;."), [example.strip('"; .!?') for example in examples]


def distinct(lines: Iterable[str], limit: int) -> list[str]:
    """Return the first ``limit`` lines that differ in more than case."""
    found: dict[str, str] = {}
    for line in lines:
        found.setdefault(line.lower(), line)
    return list(found.values())[:limit]


def require_count(per_tag: int) -> None:
    """Refuse fewer than one description per tag."""
    if per_tag < 1:
        raise UsageError(f"{per_tag} descriptions a tag are too few; give 1 or more, {PER_TAG} as RAM++ has")
