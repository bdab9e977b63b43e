"""Choosing which labels to ask a model for: tags of its vocabulary, or categories that a user names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

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
    """Everything that one model can be asked for; sets of it are made here, and kept for the next time.

    A label is anything that a model can be asked for: a tag of its vocabulary or a category in the user's own words.

    Args:
        directory: The model.
        backend: Where the queries of the vocabulary come from.
        choice: Which of the vocabulary's tags to look for, and what to call them.
        texts: Where the queries of new categories come from.
        likeness: How like each class of the image encoder's classifier such queries are, ``[C, T]``; ``None`` where a
            model cannot tell.

    Raises:
        UsageError: If the choice does not fit the vocabulary.
    """

    def __init__(
        self,
        directory: ModelDirectory,
        backend: Backend,
        choice: TagChoice | None = None,
        texts: TextQueries | None = None,
        likeness: Callable[[Queries], NDArray[np.float32] | None] | None = None,
    ):
        self.directory, self.backend = directory, backend
        self.texts = TextQueries(directory, backend) if texts is None else texts
        self._likeness = likeness
        self.vocabulary: TagVocabulary = directory.vocabulary
        self.chosen = ChosenTags(self.vocabulary, choice)
        self._queries: Queries | None = None
        self._made: dict[tuple[str, ...], LabelSet] = {}

    @property
    def queries(self) -> Queries:
        """Queries of the whole vocabulary."""
        if self._queries is None:
            self._queries = self.backend.vocabulary_queries()
        return self._queries

    def all(self, kinds: Sequence[TagKind] | None = None) -> LabelSet:
        """The vocabulary's tags of some kinds, or all."""
        key = ("kinds", *sorted(TAG_KINDS if kinds is None else kinds))
        if key not in self._made:
            self._made[key] = self.of([t for t in self.chosen.tags if kinds is None or t.kind in kinds])
        return self._made[key]

    def categories(self, names: Sequence[str]) -> LabelSet:
        """Labels for the user's names, each in its place: the tag where there is one, else the text itself.

        Raises:
            UsageError: If there is no name, or one is empty.
        """
        cleaned = [normalize_name(name) for name in names]
        if not cleaned or "" in cleaned:
            raise UsageError("categories: give at least one name, separated by commas, none of them empty")
        asked = tuple(name.strip() for name in names)
        if ("asked", *asked) not in self._made:
            # Every tag and every text is asked of the model once, however many names it goes by.
            unique = tuple(dict.fromkeys(cleaned))
            labels = self._categories(unique)
            order = [unique.index(name) for name in cleaned]
            self._made["asked", *asked] = replace(take(labels, order), asked=asked)
        return self._made["asked", *asked]

    def _categories(self, names: tuple[str, ...]) -> LabelSet:
        """Labels for normalized names, none of them twice."""
        if ("categories", *names) not in self._made:
            found = [self.chosen.find(name) for name in names]
            tags = {tag.id: tag for tag in found if tag}
            labels, places = self.of(list(tags.values())), {id: place for place, id in enumerate(tags)}
            free = [name for name, tag in zip(names, found, strict=True) if tag is None]
            if free:
                labels = join(labels, self.of_texts(free))
            free_places = iter(range(len(tags), len(tags) + len(free)))
            order = [next(free_places) if tag is None else places[tag.id] for tag in found]
            self._made["categories", *names] = take(labels, order)
        return self._made["categories", *names]

    def guides(self, names: Sequence[str]) -> dict[str, VocabularyTag]:
        """What a caption is to follow, by the names that were asked for; of several names for one tag the first.

        Other words are followed as they are, and get ids behind the vocabulary's.
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
        """Labels for some tags of the vocabulary."""
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
        """Labels for texts as they are, whether tags go by these names or not."""
        queries = self.texts.categories(names)
        like = self._likeness(queries) if self._likeness is not None else None
        if like is None:
            like = np.zeros((self.directory.config.image_encoder.classes, len(names)), np.float32)
        return LabelSet(
            names=tuple(names),
            kinds=(TAG_KINDS[0],) * len(names),
            ids=(None,) * len(names),
            thresholds=np.full(len(names), self.directory.config.open_threshold),
            shifts=np.full(len(names), self.directory.config.open_shift),
            queries=queries,
            classes=like,
            seldom=np.ones(len(names), dtype=bool),
        )
