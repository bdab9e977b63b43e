"""Labels with their queries and thresholds, and the choice of tags by their scores."""

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
    """Sum class probabilities per label.

    A tag has only a few classes, so adding them up is faster than a matrix product and does not keep the threads of
    BLAS spinning. A text outside the vocabulary is similar to all classes to some degree, so it takes a product.

    Args:
        classes: ``[C, T]``, 1 where a class is the label or implies it; for texts, their similarity in [0, 1].
        chosen: ``[T]``, labels to sum for.
        texts: ``[T]``, labels that are texts outside the vocabulary; ``None``: none.

    Attributes:
        labels: Positions ``[K]`` of the chosen labels that have a class, texts last.
    """

    def __init__(self, classes: NDArray[np.float32], chosen: NDArray[np.bool_], texts: NDArray[np.bool_] | None = None):
        known = classes.any(0) & chosen if classes.size else np.zeros(len(chosen), np.bool_)
        similar = np.flatnonzero(known & texts) if texts is not None else np.empty(0, np.intp)
        known[similar] = False
        tags = np.flatnonzero(known)
        self.labels = np.concatenate([tags, similar])
        columns, self._classes = np.nonzero(classes[:, tags].T)
        self._starts = np.searchsorted(columns, np.arange(len(tags)))
        self._similarity = np.ascontiguousarray(classes[:, similar])

    def __call__(self, probabilities: FloatArray) -> FloatArray:
        """Map class probabilities ``[B, C]`` to sums ``[B, K]``."""
        sums: FloatArray = np.add.reduceat(probabilities[:, self._classes], self._starts, axis=1)
        if not self._similarity.size:
            return sums
        return np.concatenate([sums, probabilities @ self._similarity], axis=1)


@dataclass(frozen=True)
class LabelSet:
    """``T`` labels to score together, as arrays and tuples of that length.

    Attributes:
        ids: Tag ids; ``None`` for categories outside the vocabulary.
        thresholds: ``[T]``, lowest score at which a label is returned as a tag.
        shifts: ``[T]``, log-odds to subtract from the recognition decoder's logits.
        classes: ``[C, T]``, 1 where a class of the image encoder's classifier is the label or implies it; for
            categories outside the vocabulary, their similarity in [0, 1].
        seldom: ``[T]``, whether training captions name the label too rarely for the decoder to know it well.
        asked: The user's own name for each category; empty for tags of the vocabulary.
        merged: Names shared by several tags; only the best-scoring tag of each is returned.
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
    def classes_of_rare(self) -> ClassSums:
        """Class sums of tags that captions seldom name."""
        return ClassSums(self.classes, self.seldom & ~self._are_texts)

    @cached_property
    def classes_of_frequent(self) -> ClassSums:
        """Class sums of tags that captions name often."""
        return ClassSums(self.classes, ~(self.seldom | self._are_texts))

    @cached_property
    def classes_of_all(self) -> ClassSums:
        """Class sums of all labels."""
        return ClassSums(self.classes, np.ones(len(self.names), dtype=bool), self._are_texts)

    @cached_property
    def _are_texts(self) -> NDArray[np.bool_]:
        return np.array([id is None for id in self.ids], dtype=bool)

    def limits(self, threshold: float | None = None) -> NDArray[np.float64]:
        """Threshold ``[T]`` of each label: its own, or one for all."""
        return self.thresholds if threshold is None else np.full(len(self.names), threshold, np.float64)

    def select(
        self, scores: FloatArray, threshold: float | None = None, top: int | None = None, slack: float = 0.0
    ) -> tuple[Tag, ...]:
        """Return the tags that reach their thresholds, best first; ties keep the labels' order.

        Categories keep the order in which the user gave them, repetitions included.

        Args:
            scores: ``[T]``.
            threshold: One threshold for all labels instead of each one's own.
            top: Keep at most this many, the best.
            slack: Lower the thresholds by this much, in log-odds.
        """
        limits = self.limits(threshold)
        chosen = np.flatnonzero(scores >= (lowered(limits, slack) if slack else limits))
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
        if self.merged:
            chosen = self._best_of_each_name(chosen)
        chosen = np.sort(chosen[:top]) if self.asked else chosen[:top]
        return tuple(self.tag(int(i), float(scores[i]), float(limits[i])) for i in chosen)

    def _best_of_each_name(self, best_first: NDArray[np.intp]) -> NDArray[np.intp]:
        first = {self.names[i]: i for i in reversed(best_first) if self.names[i] in self.merged}
        return np.array([i for i in best_first if first.get(self.names[i], i) == i], np.intp)

    def tag(self, place: int, score: float, threshold: float | None = None) -> Tag:
        """Return one label as a tag with its score, and its own threshold or another."""
        limit = float(self.thresholds[place]) if threshold is None else threshold
        name, id = self.names[place], self.ids[place]
        if self.asked:
            return Tag(self.asked[place], score, self.kinds[place], limit, id, None if id is None else name)
        return Tag(name, score, self.kinds[place], limit, id)


def join(first: LabelSet, second: LabelSet) -> LabelSet:
    """Concatenate two sets of labels."""
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
    """Select labels by position, in that order."""
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
