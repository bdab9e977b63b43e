"""Find a vocabulary's tags in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from anytag.language.parsing.parser import load_parser
from anytag.language.tags.vocabulary_builder import TagMapper
from anytag.language.tokenizers.tokenizer import clean_caption
from anytag.model.vocabulary import TagVocabulary, VocabularyTag


class TagCoverage:
    """Finds a vocabulary's tags in sentences.

    A sentence names a tag by its name, an alias, an inflection of them, or by a tag that implies it ("puppy" names
    "dog").
    """

    def __init__(self, vocabulary: TagVocabulary):
        self.vocabulary = vocabulary
        self._cleaned: dict[int, tuple[str, ...]] = {}

    @cached_property
    def _mapper(self) -> TagMapper:
        return TagMapper(self.vocabulary)

    def named(self, text: str, tags: Sequence[VocabularyTag] | None = None) -> list[VocabularyTag]:
        """Return those of some tags, or of all tags, that a sentence names, in the given order."""
        ids = self._mapper(load_parser("light").parse(text))
        words = f" {clean_caption(text)} "
        return [
            tag
            for tag in (self.vocabulary if tags is None else tags)
            if tag.id in ids or any(name in words for name in self._names(tag))
        ]

    def claims(self, text: str) -> list[VocabularyTag]:
        """Return the objects and scenes that a sentence names, without implied tags."""
        ids = self._mapper(load_parser("light").parse(text), implied=False)
        return [tag for id in sorted(ids) if (tag := self.vocabulary[id]).kind in ("object", "scene")]

    def _names(self, tag: VocabularyTag) -> tuple[str, ...]:
        """Return a tag's names as they appear in a cleaned sentence."""
        if tag.id >= len(self.vocabulary):  # A user's own category.
            return _cleaned(tag)
        if tag.id not in self._cleaned:
            self._cleaned[tag.id] = _cleaned(tag)
        return self._cleaned[tag.id]


def _cleaned(tag: VocabularyTag) -> tuple[str, ...]:
    return tuple(f" {clean_caption(name)} " for name in (tag.name, *tag.aliases))
