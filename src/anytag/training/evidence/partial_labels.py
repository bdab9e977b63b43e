"""Partial labels of training pictures: each tag is true, unnamed or unknown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anytag.datasets.samples import Sample, TagName
from anytag.errors import UsageError
from anytag.inference.evidence import exclusive_kinds
from anytag.training.families.batches import SampleTags

#: The tag is there; it is absent, or no caption names it; it is unknown.
TRUE, UNNAMED, UNKNOWN = 1, 0, -1

#: A tag's naming rate is shrunk to that of its kind as if the latter stood for so many captions.
_SHRINKAGE = 20.0

_LEAST_RATE, _MOST_RATE = 0.15, 0.97


@dataclass(frozen=True)
class PartialLabels:
    """Partial labels of pictures.

    Attributes:
        values: ``[N, T]`` of :data:`TRUE`, :data:`UNNAMED` and :data:`UNKNOWN`.
        captions: ``[N]``, number of captions, which omit much of what is there; 0: a class is given, and
            :data:`UNNAMED` tags are absent.
    """

    values: NDArray[np.int8]
    captions: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> PartialLabels:
        """Select pictures."""
        return PartialLabels(self.values[rows], self.captions[rows])


def caption_targets(samples: Sequence[Sample], tags: SampleTags) -> PartialLabels:
    """Label the tags that captions name, and those that they imply, as true.

    Raises:
        UsageError: If a picture has no caption.
    """
    values = np.zeros((len(samples), len(tags.vocabulary)), np.int8)
    for row, sample in zip(values, samples, strict=True):
        if not sample.captions:
            raise UsageError(f"{sample.source or sample.id}: has neither captions nor, with collections, a class")
        row[list(tags.of_picture(sample, "picture") or ())] = TRUE
    return PartialLabels(values, np.array([len(sample.captions) for sample in samples], np.int64))


class ClassTargets:
    """Label pictures that have exactly one class.

    The class and the tags that it implies are there. The other classes of its collection are absent, unless one implies
    the other; so are the kinds that exclude it. Other tags are unknown.

    Args:
        path: A JSON file, ``{collection: {"classes": [name, ...]}}``.
        root: The tag whose kinds exclude each other; see :func:`~anytag.inference.evidence.exclusive_classes`.
        general: Tags below it that are not kinds of it.
        absent: Tags that are absent, with all their kinds, unless the class is one of these.

    Raises:
        UsageError: If the file cannot be read or has another format.
    """

    def __init__(
        self,
        path: Path,
        tags: SampleTags,
        root: int | None,
        general: Sequence[int],
        absent: Sequence[int] = (),
    ):
        self._tags, self._vocabulary = tags, tags.vocabulary
        try:
            collections = json.loads(path.read_text(encoding="utf-8"))
            classes = [list(map(str, one["classes"])) for one in collections.values()]
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            form = '{collection: {"classes": [name, ...]}}'
            raise UsageError(f"{path}: cannot be read as collections of classes, {form} ({error})") from error
        self._collections = [{id for name in names for id in self._ids(name)} for names in classes]
        kinds, apart = exclusive_kinds(self._vocabulary, root, general)
        above = [(tag.id, self._vocabulary.with_implied([tag.id])) for tag in self._vocabulary]
        self._absent = [{id for id, implied in above if one in implied} for one in absent]
        self._apart = {
            id: {kinds[other] for other in np.flatnonzero(row)} for id, row in zip(kinds, apart, strict=True)
        }

    @property
    def classes(self) -> set[int]:
        """Ids of all classes."""
        return set().union(*self._collections)

    def __call__(self, samples: Sequence[Sample]) -> PartialLabels:
        """Label pictures.

        Raises:
            UsageError: If a picture has no class, or it is not a tag of the model.
        """
        values = np.full((len(samples), len(self._vocabulary)), UNKNOWN, np.int8)
        known: dict[str, tuple[set[int], set[int]]] = {}
        for row, sample in zip(values, samples, strict=True):
            if len(sample.tags) != 1:
                raise UsageError(f"{sample.source or sample.id}: has {len(sample.tags)} classes instead of one")
            name = sample.tags[0].name
            if name not in known:
                known[name] = self._of(name, sample.source)
            there, absent = known[name]
            row[list(absent)] = UNNAMED
            row[list(there)] = TRUE
        return PartialLabels(values, np.zeros(len(samples), np.int64))

    def _of(self, name: str, source: str) -> tuple[set[int], set[int]]:
        own = self._ids(name)
        if not own:
            raise UsageError(f"{source}: the model has no tag {name!r}")
        there = self._vocabulary.with_implied(own)
        others = {id for group in self._collections if own & group for id in group}
        others |= {id for one in own for id in self._apart.get(one, ())}
        for kinds in self._absent:
            if not there & kinds:
                others |= kinds
        return there, {id for id in others - there if not own & self._vocabulary.with_implied([id])}

    def _ids(self, name: str) -> set[int]:
        return self._tags.ids.of_names([TagName(name)])


def naming_rates(samples: Sequence[Sample], tags: SampleTags) -> NDArray[np.float64]:
    """Estimate the probability that one caption names a tag that is there, ``[T]``.

    If one of a picture's captions names a tag, it is the share of the other captions that name it, too. Rates of tags
    that few captions name are shrunk towards that of their kind.

    Args:
        samples: Those with one caption are skipped.
    """
    size = len(tags.vocabulary)
    named, again = np.zeros(size), np.zeros(size)
    for sample in samples:
        if (count := len(sample.captions)) > 1:
            mentions = np.zeros(size)
            for ids in tags.of_captions(sample):
                mentions[list(tags.vocabulary.with_implied(ids or ()))] += 1
            named += mentions
            again += mentions * (mentions - 1) / (count - 1)
    kinds = np.array([tag.kind for tag in tags.vocabulary])
    rates = np.full(size, 0.5)
    for kind in np.unique(kinds):
        own = kinds == kind
        mean = again[own].sum() / named[own].sum() if named[own].any() else 0.5
        rates[own] = (again[own] + _SHRINKAGE * mean) / (named[own] + _SHRINKAGE)
    return np.clip(rates, _LEAST_RATE, _MOST_RATE)
