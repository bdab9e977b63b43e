"""From the names of a data set and from captions to the ids of a vocabulary: the one way there."""

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
    """A tag as a data set names it."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> TagKind | None: ...


class TagIds:
    """Looks names and captions up in a vocabulary. Nothing implied is added.

    Args:
        vocabulary: Whose ids are wanted.
        parser: Reads captions; ``None``: captions are not read.
        mapper: The vocabulary's, where there is one already; it takes a moment to make.

    Attributes:
        unknown: How many names were looked up in vain, ``names_unknown``, and how many were found, ``names_known``.
        unknown_names: A data set's own names that were looked up in vain, and how often; parsed words do not count.
    """

    def __init__(self, vocabulary: TagVocabulary, parser: CaptionParser | None = None, mapper: TagMapper | None = None):
        self.vocabulary, self.parser = vocabulary, parser
        self.unknown: Counter[str] = Counter()
        self.unknown_names: Counter[str] = Counter()
        self._mapper = mapper or TagMapper(vocabulary)
        self._named: dict[tuple[str, TagKind | None], Ids] = {}

    def of_names(self, names: Iterable[NamedTag]) -> set[int]:
        """Ids of a data set's own tags: by name or alias, else as a caption would be understood."""
        ids: set[int] = set()
        for tag in names:
            found = self._counted(self._find(tag.name, tag.kind))
            if not found:
                self.unknown_names[tag.name] += 1
            ids.update(found)
        return ids

    def of_kind(self, name: str, kind: TagKind) -> Ids:
        """Ids of a tag of that very kind, else as a caption would be understood."""
        known = self.vocabulary.find(name, kind)
        return self._counted((known.id,) if known else self._mapper.ids(ParsedTag(name, kind)))

    def of_parsed(self, tags: Iterable[ParsedTag]) -> Ids:
        """Ids of what was parsed from a caption, in its order, each once."""
        return tuple(dict.fromkeys(id for tag in tags for id in self._counted(self._mapper.ids(tag))))

    def of_caption(self, caption: str) -> Ids | None:
        """Ids that a caption names, in its order, each once; ``None`` if there is no parser."""
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
