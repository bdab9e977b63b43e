"""Choose the labels to score: tags of the model's vocabulary, or categories that a user names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Backend, Queries
from anytag.errors import UsageError
from anytag.inference.label_set import LabelSet, join, take
from anytag.inference.tag_choice import ChosenTags, TagChoice
from anytag.inference.text_queries import TextQueries
from anytag.model.directory import ModelDirectory
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import TAG_KINDS, TagKind


class LabelSpace:
    """Create label sets for one model and cache them.

    A label is a tag of the vocabulary or a category in the user's own words.

    Args:
        choice: Tags of the vocabulary to look for, and their names.
        class_similarity: Returns the similarity ``[C, T]`` of such queries to the classifier's classes, or ``None``.

    Raises:
        UsageError: If the choice does not fit the vocabulary.
    """

    def __init__(
        self,
        directory: ModelDirectory,
        backend: Backend,
        choice: TagChoice | None = None,
        texts: TextQueries | None = None,
        class_similarity: Callable[[Queries], NDArray[np.float32] | None] | None = None,
    ):
        self.directory, self.backend = directory, backend
        self.texts = TextQueries(directory, backend) if texts is None else texts
        self._class_similarity = class_similarity
        self.vocabulary: TagVocabulary = directory.vocabulary
        self.chosen = ChosenTags(self.vocabulary, choice)
        self._cache: dict[tuple[str, ...], LabelSet] = {}

    @cached_property
    def queries(self) -> Queries:
        """Queries of the whole vocabulary."""
        return self.backend.vocabulary_queries()

    def all(self, kinds: Sequence[TagKind] | None = None) -> LabelSet:
        """The chosen tags of the vocabulary, or those of some kinds."""
        key = ("kinds", *sorted(TAG_KINDS if kinds is None else kinds))
        if key not in self._cache:
            self._cache[key] = self.of([t for t in self.chosen.tags if kinds is None or t.kind in kinds])
        return self._cache[key]

    def categories(self, names: Sequence[str]) -> LabelSet:
        """One label per name, in order: the tag of that name or, if there is none, the text itself.

        Raises:
            UsageError: If there is no name, or one is empty.
        """
        cleaned = [normalize_name(name) for name in names]
        if not cleaned or "" in cleaned:
            raise UsageError("categories: give at least one name, separated by commas, none of them empty")
        asked = tuple(name.strip() for name in names)
        if ("asked", *asked) not in self._cache:
            # Several names may stand for one tag, which is scored only once.
            unique = tuple(dict.fromkeys(cleaned))
            labels = self._categories(unique)
            order = [unique.index(name) for name in cleaned]
            self._cache["asked", *asked] = replace(take(labels, order), asked=asked)
        return self._cache["asked", *asked]

    def _categories(self, names: tuple[str, ...]) -> LabelSet:
        """Labels for distinct, normalized names."""
        if ("categories", *names) not in self._cache:
            found = [self.chosen.find(name) for name in names]
            tags = {tag.id: tag for tag in found if tag}
            labels, places = self.of(list(tags.values())), {id: place for place, id in enumerate(tags)}
            free = [name for name, tag in zip(names, found, strict=True) if tag is None]
            if free:
                labels = join(labels, self.of_texts(free))
            free_places = iter(range(len(tags), len(tags) + len(free)))
            order = [next(free_places) if tag is None else places[tag.id] for tag in found]
            self._cache["categories", *names] = take(labels, order)
        return self._cache["categories", *names]

    def guides(self, names: Sequence[str]) -> dict[str, VocabularyTag]:
        """Tags that should guide a caption, by the user's names; of several names for one tag, the first.

        Words outside the vocabulary become tags with ids after its last.
        """
        tags: dict[str, VocabularyTag] = {}
        asked: dict[str, VocabularyTag] = {}
        for name in names:
            tag = self.chosen.find(name)
            if tag is None and (words := normalize_name(name)):
                tag = VocabularyTag(len(self.vocabulary) + len(tags), words, TAG_KINDS[0])
            if tag is not None and tag.name not in tags:
                tags[tag.name] = asked[name.strip()] = tag
        return asked

    def of(self, tags: Sequence[VocabularyTag]) -> LabelSet:
        """Labels for tags of the vocabulary."""
        default = self.directory.config.default_threshold
        return LabelSet(
            names=tuple(self.chosen.name(tag) for tag in tags),
            kinds=tuple(tag.kind for tag in tags),
            ids=tuple(tag.id for tag in tags),
            thresholds=np.array([default if t.threshold is None else t.threshold for t in tags], dtype=np.float64),
            shifts=np.array([tag.shift for tag in tags], dtype=np.float64),
            queries=self.queries.take(np.array([tag.id for tag in tags], dtype=np.int64)),
            classes=self._classes(tags),
            seldom=np.array([self._seldom(tag) for tag in tags], dtype=bool),
            merged=self.chosen.shared_names,
        )

    def _seldom(self, tag: VocabularyTag) -> bool:
        limit = self.directory.config.class_support
        return limit is None or tag.support < limit

    def _classes(self, tags: Sequence[VocabularyTag]) -> NDArray[np.float32]:
        columns = {tag.id: place for place, tag in enumerate(tags)}
        matrix = np.zeros((self.directory.config.image_encoder.classes, len(tags)), np.float32)
        for tag in self.vocabulary:
            if tag.classes:
                truth = [columns[id] for id in self.vocabulary.with_implied([tag.id]) if id in columns]
                matrix[np.ix_(tag.classes, truth)] = 1
        return matrix

    def of_texts(self, names: Sequence[str]) -> LabelSet:
        """Labels for texts, even if tags have these names."""
        queries = self.texts.categories(names)
        similarity = self._class_similarity(queries) if self._class_similarity is not None else None
        if similarity is None:
            similarity = np.zeros((self.directory.config.image_encoder.classes, len(names)), np.float32)
        return LabelSet(
            names=tuple(names),
            kinds=(TAG_KINDS[0],) * len(names),
            ids=(None,) * len(names),
            thresholds=np.full(len(names), self.directory.config.open_threshold),
            shifts=np.full(len(names), self.directory.config.open_shift),
            queries=queries,
            classes=similarity,
            seldom=np.ones(len(names), dtype=bool),
        )
