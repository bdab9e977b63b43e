"""Choose which tags of a vocabulary to look for, and rename them.

Files are plain text in UTF-8 with one tag per line; blank lines and lines that start with ``#`` are ignored. A tag is
given by its name or an alias, singular or plural, which selects all of its senses; with its kind (``train (action)``),
which selects one sense; or by its id. Files of new names have an equals sign or a tab after the tag: ``dog = Hund``.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from anytag.errors import UsageError
from anytag.foundations import arguments
from anytag.language.parsing.lemmas import noun_lemma
from anytag.language.tags.name_files import read_name_lines
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import TAG_KINDS

_SENSE = re.compile(rf"(.*\S)\s*\(({'|'.join(TAG_KINDS)})\)")

#: A tag as it was given, and where, for messages.
_Entry = tuple[str, str]


@dataclass(frozen=True)
class TagChoice:
    """Which tags to look for, and what to call them.

    Attributes:
        allow: Look only for these tags; a file or a list. ``None``: all.
        deny: Do not look for these tags; a file or a list.
        rename: New names by tag; a file or a mapping.
        language: Language code of the names (``de``, ``zh-CN``); tags without a translation keep their English names.

    Raises:
        UsageError: If an attribute has the wrong type.
    """

    allow: str | Path | Sequence[str] | None = None
    deny: str | Path | Sequence[str] | None = None
    rename: str | Path | Mapping[str, str] | None = None
    language: str | None = None

    def __post_init__(self) -> None:
        for name in ("allow", "deny"):
            given = getattr(self, name)
            if given is not None and not isinstance(given, str | Path):
                arguments.texts(name, given)
        if self.rename is not None and not isinstance(self.rename, str | Path):
            if not isinstance(self.rename, Mapping):
                raise UsageError(f"rename must be a table of new names or a file, not {arguments.repr_of(self.rename)}")
            arguments.texts("rename", [*self.rename.keys(), *self.rename.values()])
        if self.language is not None:
            arguments.text("language", self.language)


class ChosenTags:
    """A choice applied to one vocabulary. It does not change scores.

    Args:
        choice: ``None``: all tags, under their own names.

    Attributes:
        tags: The chosen tags, in the vocabulary's order.
        shared_names: Names that several tags have after renaming; those tags are returned as one.

    Raises:
        UsageError: If a file cannot be read, a tag is unknown (with its line and similar tags), no tag is left, or the
            vocabulary has no names in the language.
    """

    def __init__(self, vocabulary: TagVocabulary, choice: TagChoice | None = None):
        choice = choice or TagChoice()
        self._vocabulary, self._names = vocabulary, _translated(vocabulary, choice.language)
        self._language = choice.language and _code(choice.language)
        self._index: tuple[dict[str, list[int]], dict[str, list[int]]] | None = None
        allowed = None if choice.allow is None else self._ids(_entries(choice.allow, "allow"))
        denied = set() if choice.deny is None else self._ids(_entries(choice.deny, "deny"))
        for (text, where), name in () if choice.rename is None else _pairs(choice.rename):
            for id in self._find(text, where):
                self._names[id] = name
        self.tags = [t for t in vocabulary if (allowed is None or t.id in allowed) and t.id not in denied]
        if not self.tags and len(vocabulary):
            raise UsageError("allow and deny leave no tag to look for")
        called = Counter(self.name(tag) for tag in self.tags)
        self.shared_names = frozenset(name for name in self._names.values() if called[name] > 1)
        self._by_new_name = {normalize_name(name): vocabulary[id] for id, name in reversed(self._names.items())}

    def name(self, tag: VocabularyTag) -> str:
        """The name of a tag after renaming."""
        return self._names.get(tag.id, tag.name)

    def find(self, name: str) -> VocabularyTag | None:
        """Find a tag by its new name, or else by a name or alias of the vocabulary, singular or plural.

        Names in other languages come last: "chat" is English before French, unless French was chosen.
        """
        for reading in _numbers(name):
            found = self._by_new_name.get(normalize_name(reading)) or self._vocabulary.find(reading)
            if found:
                return found
        called = [self._vocabulary[id] for id in self._vocabulary.translations.find(name)]
        return min(called, key=lambda tag: (TAG_KINDS.index(tag.kind), -tag.support), default=None)

    def _ids(self, entries: Iterator[_Entry]) -> set[int]:
        return {id for text, where in entries for id in self._find(text, where)}

    def _find(self, text: str, where: str) -> list[int]:
        if self._language and (called := self._vocabulary.translations.find(text, self._language)):
            return list(called)
        if self._index is None:
            self._index = ({}, {})
            for tag in self._vocabulary:
                self._index[0].setdefault(normalize_name(tag.name), []).append(tag.id)
                for alias in tag.aliases:
                    self._index[1].setdefault(normalize_name(alias), []).append(tag.id)
        for reading, kind in _readings(text):
            for name, table in product(_numbers(reading), self._index):
                found = [i for i in table.get(normalize_name(name), ()) if kind in (None, self._vocabulary[i].kind)]
                if found:
                    return found
        if called := self._vocabulary.translations.find(text):
            return list(called)
        if text.isdecimal() and int(text) < len(self._vocabulary):
            return [int(text)]
        near = difflib.get_close_matches(normalize_name(text), [*self._index[0], *self._index[1]], n=3, cutoff=0.6)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"{where}: unknown tag {text!r}{hint} (anytag vocabulary search shows what there is)")


def _numbers(name: str) -> Iterator[str]:
    """A name and, if it is a plural, its singular."""
    yield name
    before, blank, last = name.strip().lower().rpartition(" ")
    if last and (singular := noun_lemma(last)) != last:
        yield before + blank + singular


def _readings(text: str) -> Iterator[tuple[str, str | None]]:
    yield text, None
    if sense := _SENSE.fullmatch(text):
        yield sense[1], sense[2]


def _translated(vocabulary: TagVocabulary, language: str | None) -> dict[int, str]:
    if language is None:
        return {}
    names = vocabulary.translations.names(_code(language))
    if not names:
        known = ", ".join(vocabulary.translations.languages)
        offered = f"it has {known}" if known else "it has none but its own; give a table to rename by"
        raise UsageError(f"the vocabulary has no names in {language!r}; {offered}")
    return names


def _code(language: str) -> str:
    """``de`` of ``de-AT`` or ``de_AT.UTF-8``."""
    return re.split(r"[-_.]", language.strip().lower())[0]


def _entries(given: str | Path | Sequence[str], what: str) -> Iterator[_Entry]:
    if isinstance(given, str | Path):
        yield from _lines(Path(given))
    else:
        yield from ((text.strip(), what) for text in given)


def _pairs(given: str | Path | Mapping[str, str]) -> Iterator[tuple[_Entry, str]]:
    if isinstance(given, Mapping):
        yield from (((text.strip(), "rename"), name) for text, name in given.items())
        return
    for text, where in _lines(Path(given)):
        tag, sign, name = text.partition("\t" if "\t" in text else "=")
        if not sign or not tag.strip() or not name.strip():
            raise UsageError(f"{where}: {text!r} is not 'tag = new name'")
        yield (tag.strip(), where), name.strip()


def _lines(path: Path) -> Iterator[_Entry]:
    for name, number in read_name_lines(path, "tags"):
        yield name, f"{path}, line {number}"
