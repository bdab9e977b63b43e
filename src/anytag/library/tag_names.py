"""The tags of an index, by everything that people call them."""

from __future__ import annotations

from anytag.library.index import Index
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

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
        """The tags that a text names."""
        name = normalize_name(text)
        found = self._called(name) or self._called(name.removesuffix("s")) or self._called(name.removesuffix("es"))
        if not found and self._vocabulary is not None:
            senses = [self._vocabulary[id] for id in self._vocabulary.translations.find(name)]
            found = [known for tag in senses for known in self.of(tag)]
        return found

    def of(self, tag: VocabularyTag) -> list[IndexTag]:
        """A tag of the vocabulary, if a picture has it."""
        return [known for known in self._by_name.get(normalize_name(tag.name), ()) if known[1:] == (tag.name, tag.kind)]

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
