"""Find the tags of an index by name, alias, plural or translation."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from anytag.library.index import Index
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import TAG_KINDS

#: A tag's number in the index, its name and its kind.
IndexTag = tuple[int, str, str]


class TagNames:
    """The names of an index's tags, with aliases, plurals and translations of the model's vocabulary."""

    def __init__(self, index: Index, vocabulary: TagVocabulary | None = None):
        self._vocabulary = vocabulary
        self._state = _state(index)
        self._by_name: dict[str, list[IndexTag]] = {}
        for number, name, kind in index.rows("SELECT id, name, kind FROM tags"):
            self._by_name.setdefault(normalize_name(name), []).append((number, name, kind))

    def fits(self, index: Index) -> bool:
        """Whether the tags of the index are still the same."""
        return self._state == _state(index)

    def find(self, text: str) -> list[IndexTag]:
        """Return the tags that a text names, and tags that imply them: a bee is an insect."""
        name = normalize_name(text)
        found: dict[IndexTag, None] = {}
        for form in (name, name.removesuffix("s"), name.removesuffix("es")):
            if found := dict.fromkeys([*self._named(form), *self._implying(self._senses(form))]):
                return list(found)
        if self._vocabulary is not None:
            senses = [self._vocabulary[id] for id in self._vocabulary.translations.find(name)]
            found = dict.fromkeys(known for tag in senses for known in self.of(tag))
            found |= dict.fromkeys(self._implying(senses))
        return list(found)

    def of(self, tag: VocabularyTag) -> list[IndexTag]:
        """Return a tag of the vocabulary as a tag of the index, if a picture has it."""
        return [known for known in self._by_name.get(normalize_name(tag.name), ()) if known[1:] == (tag.name, tag.kind)]

    def _senses(self, name: str) -> list[VocabularyTag]:
        """Return the vocabulary's tags of that name or alias."""
        if self._vocabulary is None:
            return []
        named = (self._vocabulary.find(name, kind) for kind in TAG_KINDS)
        return [*(tag for tag in named if tag is not None), *self._vocabulary.with_alias(name)]

    def _implying(self, senses: Iterable[VocabularyTag]) -> list[IndexTag]:
        """Return the index's tags that imply one of these tags."""
        return [known for tag in senses for known in self._below.get(tag.id, ())]

    @cached_property
    def _below(self) -> dict[int, list[IndexTag]]:
        """The index's tags that imply each tag of the vocabulary, by its id."""
        below: dict[int, list[IndexTag]] = {}
        if self._vocabulary is None:
            return below
        for tag in self._vocabulary:
            if known := self.of(tag):
                for id in self._vocabulary.with_implied([tag.id]) - {tag.id}:
                    below.setdefault(id, []).extend(known)
        return below

    def _named(self, name: str) -> list[IndexTag]:
        """Return tags of that name, then those of that alias."""
        found = list(self._by_name.get(name, ()))
        if self._vocabulary is not None:
            aliased = (known for tag in self._vocabulary.with_alias(name) for known in self.of(tag))
            found += [known for known in aliased if known not in found]
        return found


def _state(index: Index) -> tuple[int, ...]:
    """Return values that change whenever tags are added; tags are never renamed or removed."""
    [row] = index.rows("SELECT count(*), coalesce(max(id), 0) FROM tags")
    return index.path.stat().st_ino, *row
