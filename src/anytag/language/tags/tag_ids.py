"""Map a data set's tag names, and captions, to the ids of a vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from anytag.language.parsing.parser import CaptionParser
from anytag.language.parsing.rules import ParsedTag
from anytag.language.tags.vocabulary_builder import TagMapper
from anytag.model.vocabulary import TagVocabulary
from anytag.recognition import TagKind

Ids = tuple[int, ...]


class NamedTag(Protocol):
    """A data set's tag."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> TagKind | None: ...


class TagIds:
    """Maps names and captions to a vocabulary's ids, without adding implied tags.

    Args:
        mapper: The vocabulary's mapper if there is one, since it takes a moment to build.

    Attributes:
        unknown: Number of names that were found, ``names_known``, and not found, ``names_unknown``.
        unknown_names: Data set names that were not found, with counts; without names from captions.
    """

    def __init__(self, vocabulary: TagVocabulary, parser: CaptionParser | None = None, mapper: TagMapper | None = None):
        self.vocabulary, self.parser = vocabulary, parser
        self.unknown: Counter[str] = Counter()
        self.unknown_names: Counter[str] = Counter()
        self._mapper = mapper or TagMapper(vocabulary)
        self._named: dict[tuple[str, TagKind | None], Ids] = {}

    def of_names(self, names: Iterable[NamedTag]) -> set[int]:
        """Return the ids of a data set's tags, matched by name or alias, or else as in captions."""
        ids: set[int] = set()
        for tag in names:
            found = self._counted(self._find(tag.name, tag.kind))
            if not found:
                self.unknown_names[tag.name] += 1
            ids.update(found)
        return ids

    def of_kind(self, name: str, kind: TagKind) -> Ids:
        """Return the ids of a tag of exactly this kind, or else as in captions."""
        known = self.vocabulary.find(name, kind)
        return self._counted((known.id,) if known else self._mapper.ids(ParsedTag(name, kind)))

    def of_parsed(self, tags: Iterable[ParsedTag]) -> Ids:
        """Return the ids of a caption's parsed tags, in order, without duplicates."""
        return tuple(dict.fromkeys(id for tag in tags for id in self._counted(self._mapper.ids(tag))))

    def of_caption(self, caption: str) -> Ids | None:
        """Return the ids of a caption's tags, in order, without duplicates; ``None`` without a parser."""
        return None if self.parser is None else self.of_parsed(self.parser.parse(caption))

    def _find(self, name: str, kind: TagKind | None) -> Ids:
        known = self._named.get((name, kind))
        if known is None:
            tag = self.vocabulary.find(name, kind) or self.vocabulary.find(name)
            known = (tag.id,) if tag else self._mapper.ids(ParsedTag(name, kind or "object"))
            self._named[name, kind] = known
        return known

    def _counted(self, ids: Ids) -> Ids:
        self.unknown["names_known" if ids else "names_unknown"] += 1
        return ids
