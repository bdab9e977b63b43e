"""Labels that are ready to be asked for, and which of them a picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import FloatArray, Queries
from anytag.foundations.log_odds import lowered
from anytag.recognition import Tag, TagKind


class ClassSums:
    """The probability of labels as that of their classes together.

    A tag has one class or a few, so this adds them up; a matrix product would take longer, and leave the threads of
    the library behind it waiting for more. A text outside the vocabulary is a little like all classes.

    Args:
        classes: ``[C, T]``, 1 where a class is the label or implies it; for texts how alike both are, in [0, 1].
        chosen: ``[T]``, of which labels.
        texts: ``[T]``, which labels are such texts; ``None``: none of them.

    Attributes:
        labels: Places of the chosen labels that have a class, ``[K]``, texts last.
    """

    def __init__(self, classes: NDArray[np.float32], chosen: NDArray[np.bool_], texts: NDArray[np.bool_] | None = None):
        known = classes.any(0) & chosen if classes.size else np.zeros(len(chosen), np.bool_)
        like = np.flatnonzero(known & texts) if texts is not None else np.empty(0, np.intp)
        known[like] = False
        tags = np.flatnonzero(known)
        self.labels = np.concatenate([tags, like])
        columns, self._classes = np.nonzero(classes[:, tags].T)
        self._starts = np.searchsorted(columns, np.arange(len(tags)))
        self._likeness = np.ascontiguousarray(classes[:, like])

    def __call__(self, probabilities: FloatArray) -> FloatArray:
        """From ``[B, C]`` to ``[B, K]``."""
        sums: FloatArray = np.add.reduceat(probabilities[:, self._classes], self._starts, axis=1)
        if not self._likeness.size:
            return sums
        return np.concatenate([sums, probabilities @ self._likeness], axis=1)


@dataclass(frozen=True)
class LabelSet:
    """Labels, ready to be asked for.

    Attributes:
        names: What they are called.
        kinds: What they name.
        ids: Ids in the vocabulary; ``None`` for free categories.
        thresholds: ``[T]``, the score from which on each counts as found.
        shifts: ``[T]``, log-odds to subtract from the recognition decoder's logits.
        queries: Their queries.
        classes: ``[C, T]``, 1 where a class of the image encoder's classifier is the label or implies it; for free
            categories how alike both are, in [0, 1].
        seldom: ``[T]``, whether captions named the label too seldom for the classifier to be held back.
        asked: What the user calls each category; empty for tags of the vocabulary.
        merged: Names that several tags were given; the best of them stands for all.
    """

    names: tuple[str, ...]
    kinds: tuple[TagKind, ...]
    ids: tuple[int | None, ...]
    thresholds: NDArray[np.float64]
    shifts: NDArray[np.float64]
    queries: Queries
    classes: NDArray[np.float32]
    seldom: NDArray[np.bool_]
    asked: tuple[str, ...] = ()
    merged: frozenset[str] = frozenset()

    @cached_property
    def found_by_classes(self) -> ClassSums:
        """The labels that the classifier finds by itself."""
        return ClassSums(self.classes, self.seldom & ~self._are_texts)

    @cached_property
    def weighed_by_classes(self) -> ClassSums:
        """The labels that the classifier has a say in."""
        return ClassSums(self.classes, ~(self.seldom | self._are_texts))

    @cached_property
    def classes_of_all(self) -> ClassSums:
        """The classes of every label."""
        return ClassSums(self.classes, np.ones(len(self.names), dtype=bool), self._are_texts)

    @cached_property
    def _are_texts(self) -> NDArray[np.bool_]:
        return np.array([id is None for id in self.ids], dtype=bool)

    def limits(self, threshold: float | None = None) -> NDArray[np.float64]:
        """The score ``[T]`` from which on each label counts as found: its own threshold, or one for all."""
        return self.thresholds if threshold is None else np.full(len(self.names), threshold, np.float64)

    def found(
        self, scores: FloatArray, threshold: float | None = None, top: int | None = None, room: float = 0.0
    ) -> tuple[Tag, ...]:
        """Tags at or above their thresholds, best first; equal scores keep the labels' order.

        Categories that the user asked for come in that order, and as often; ``top`` keeps the best of them.

        Args:
            scores: ``[T]``.
            threshold: One for all labels instead of each one's own.
            top: At most that many.
            room: By how much, in log-odds, tags may miss their thresholds.
        """
        limits = self.limits(threshold)
        chosen = np.flatnonzero(scores >= (lowered(limits, room) if room else limits))
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
        if self.merged:
            chosen = self._best_of_each_name(chosen)
        chosen = np.sort(chosen[:top]) if self.asked else chosen[:top]
        return tuple(self.tag(int(i), float(scores[i]), float(limits[i])) for i in chosen)

    def _best_of_each_name(self, best_first: NDArray[np.intp]) -> NDArray[np.intp]:
        first = {self.names[i]: i for i in reversed(best_first) if self.names[i] in self.merged}
        return np.array([i for i in best_first if first.get(self.names[i], i) == i], np.intp)

    def tag(self, place: int, score: float, threshold: float | None = None) -> Tag:
        """One of the labels with its score, and a threshold that may be another than its own."""
        limit = float(self.thresholds[place]) if threshold is None else threshold
        name, id = self.names[place], self.ids[place]
        if self.asked:
            return Tag(self.asked[place], score, self.kinds[place], limit, id, None if id is None else name)
        return Tag(name, score, self.kinds[place], limit, id)


def join(first: LabelSet, second: LabelSet) -> LabelSet:
    """The labels of both."""
    return LabelSet(
        first.names + second.names,
        first.kinds + second.kinds,
        first.ids + second.ids,
        np.concatenate([first.thresholds, second.thresholds]),
        np.concatenate([first.shifts, second.shifts]),
        first.queries.join(second.queries),
        np.concatenate([first.classes, second.classes], axis=1),
        np.concatenate([first.seldom, second.seldom]),
    )


def take(labels: LabelSet, order: Sequence[int]) -> LabelSet:
    """Some of the labels, in another order."""
    rows = np.array(order, dtype=np.int64)
    return LabelSet(
        tuple(labels.names[i] for i in order),
        tuple(labels.kinds[i] for i in order),
        tuple(labels.ids[i] for i in order),
        labels.thresholds[rows],
        labels.shifts[rows],
        labels.queries.take(rows),
        labels.classes[:, rows],
        labels.seldom[rows],
    )
