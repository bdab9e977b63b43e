"""Map a benchmark's classes to a model's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anytag.model.vocabulary import TagVocabulary


def map_categories(
    names: Sequence[str], vocabulary: TagVocabulary, synonyms: Mapping[str, Sequence[str]]
) -> list[int | None]:
    """Find each class's tag id by its name, then by its synonyms; ``None`` where the vocabulary has none."""
    tags = []
    for name in names:
        found = (vocabulary.find(text) for text in (name, *synonyms.get(name, ())))
        tags.append(next((tag.id for tag in found if tag is not None), None))
    return tags


def kinds_of(names: Sequence[str], vocabulary: TagVocabulary, synonyms: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the kind (object, scene, action, attribute) of each class that the vocabulary has."""
    tags = map_categories(names, vocabulary, synonyms)
    return {name: vocabulary[tag].kind for name, tag in zip(names, tags, strict=True) if tag is not None}
