"""How a benchmark's classes map to a model's vocabulary; what does not is listed, never dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anytag.model.vocabulary import TagVocabulary


@dataclass(frozen=True)
class CategoryMap:
    """Classes and the tags that stand for them.

    Attributes:
        names: The classes, in order.
        tags: Per class the tag's id; ``None`` where the vocabulary has none.
        by: Per class ``name``, ``alias`` (the vocabulary knows it by another name), ``synonym`` (the benchmark does, by
            the reviewed table) or ``none``.
    """

    names: tuple[str, ...]
    tags: tuple[int | None, ...]
    by: tuple[str, ...]

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Classes that the vocabulary does not have."""
        return tuple(name for name, tag in zip(self.names, self.tags, strict=True) if tag is None)

    @property
    def shared(self) -> dict[int, tuple[str, ...]]:
        """Tags that stand for several classes: their columns are scored alike."""
        classes: dict[int, list[str]] = {}
        for name, tag in zip(self.names, self.tags, strict=True):
            if tag is not None:
                classes.setdefault(tag, []).append(name)
        return {tag: tuple(names) for tag, names in classes.items() if len(names) > 1}


def kinds_of(
    names: Sequence[str], vocabulary: TagVocabulary, synonyms: Mapping[str, Sequence[str]] | None = None
) -> dict[str, str]:
    """What sort of thing each class is (object, scene, action, attribute), by a vocabulary; only those that it has."""
    found = map_categories(names, vocabulary, synonyms)
    return {name: vocabulary[tag].kind for name, tag in zip(names, found.tags, strict=True) if tag is not None}


def map_categories(
    names: Sequence[str], vocabulary: TagVocabulary, synonyms: Mapping[str, Sequence[str]] | None = None
) -> CategoryMap:
    """Find each class in a vocabulary: by its name, then by the vocabulary's aliases, then by its synonyms."""
    tags: list[int | None] = []
    by: list[str] = []
    for name in names:
        tag = vocabulary.find(name)
        how = "none" if tag is None else ("name" if tag.name == " ".join(name.lower().split()) else "alias")
        for synonym in () if tag is not None else (synonyms or {}).get(name, ()):
            tag = vocabulary.find(synonym)
            if tag is not None:
                how = "synonym"
                break
        tags.append(None if tag is None else tag.id)
        by.append(how)
    return CategoryMap(tuple(names), tuple(tags), tuple(by))
