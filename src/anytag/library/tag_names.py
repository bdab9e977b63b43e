"""The tags of an index, by everything that people call them."""

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
    """Names and aliases of an index's tags, also in the plural and in other languages.

    Args:
        index: Whose tags.
        vocabulary: Of the model, for aliases and other languages; ``None``: only the tags' own names are known.
    """

    def __init__(self, index: Index, vocabulary: TagVocabulary | None = None):
        self._vocabulary = vocabulary
        self._state = _state(index)
        self._by_name: dict[str, list[IndexTag]] = {}
        for number, name, kind in index.rows("SELECT id, name, kind FROM tags"):
            self._by_name.setdefault(normalize_name(name), []).append((number, name, kind))

    def fits(self, index: Index) -> bool:
        """Whether these are still the names of an index's tags."""
        return self._state == _state(index)

    def find(self, text: str) -> list[IndexTag]:
        """The tags that a text names, and their kinds: a bee is an insect, also where only the bee was sure enough."""
        name = normalize_name(text)
        found: dict[IndexTag, None] = {}
        for form in (name, name.removesuffix("s"), name.removesuffix("es")):
            if found := dict.fromkeys([*self._called(form), *self._kinds(self._senses(form))]):
                return list(found)
        if self._vocabulary is not None:
            senses = [self._vocabulary[id] for id in self._vocabulary.translations.find(name)]
            found = dict.fromkeys(known for tag in senses for known in self.of(tag))
            found |= dict.fromkeys(self._kinds(senses))
        return list(found)

    def of(self, tag: VocabularyTag) -> list[IndexTag]:
        """A tag of the vocabulary, if a picture has it."""
        return [known for known in self._by_name.get(normalize_name(tag.name), ()) if known[1:] == (tag.name, tag.kind)]

    def _senses(self, name: str) -> list[VocabularyTag]:
        """Tags of the vocabulary of that name or alias, whether a picture has them or not."""
        if self._vocabulary is None:
            return []
        named = (self._vocabulary.find(name, kind) for kind in TAG_KINDS)
        return [*(tag for tag in named if tag is not None), *self._vocabulary.with_alias(name)]

    def _kinds(self, senses: Iterable[VocabularyTag]) -> list[IndexTag]:
        """The index's tags that imply one of some tags of the vocabulary."""
        return [known for tag in senses for known in self._below.get(tag.id, ())]

    @cached_property
    def _below(self) -> dict[int, list[IndexTag]]:
        """By id of the vocabulary, the index's tags that imply it."""
        below: dict[int, list[IndexTag]] = {}
        if self._vocabulary is None:
            return below
        for tag in self._vocabulary:
            if known := self.of(tag):
                for id in self._vocabulary.with_implied([tag.id]) - {tag.id}:
                    below.setdefault(id, []).extend(known)
        return below

    def _called(self, name: str) -> list[IndexTag]:
        """Tags of that name, then those of that alias."""
        found = list(self._by_name.get(name, ()))
        if self._vocabulary is not None:
            aliased = (known for tag in self._vocabulary.with_alias(name) for known in self.of(tag))
            found += [known for known in aliased if known not in found]
        return found


def _state(index: Index) -> tuple[int, ...]:
    """What changes with an index's tags: they are never renamed, and none is taken away."""
    [row] = index.rows("SELECT count(*), coalesce(max(id), 0) FROM tags")
    return index.path.stat().st_ino, *row
