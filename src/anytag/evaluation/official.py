"""The released evaluation of Tag2Text, RAM and RAM++: its files, and its figures to the last digit.

``ram/utils/metrics.py`` has ``get_mAP`` and ``get_PR``. They differ from :mod:`anytag.evaluation.tagging` in three
small things: a class without positives counts as 0; denominators are a little larger (by 1e-8 or 1e-9), so that none
is 0; and pictures with equal scores are ranked by chance. The first two are kept here; equal scores enter together.

A list of tags may name one twice (two senses of "train"). For average precision both are classes with the same
positives. For precision and recall, where tags are known by name only, the released ``get_PR`` fails on such lists
(``IndexError``), or would count a tag in the wrong column; here a name counts once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytag.errors import UsageError
from anytag.evaluation.tagging import average_precisions


@dataclass(frozen=True, slots=True)
class Annotations:
    """Which tags pictures have.

    Attributes:
        pictures: Their names, in the order of the file.
        tags: The tags of each, by name.
    """

    pictures: tuple[str, ...]
    tags: tuple[frozenset[str], ...]

    def matrix(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Whether a picture has a tag, ``[pictures, names]``; a name that stands twice has two equal columns.

        Raises:
            UsageError: If the list is empty, or a picture has a tag that is not in it.
        """
        if not names:
            raise UsageError("the list of tags is empty; give the names that were annotated")
        columns: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            columns.setdefault(name.strip(), []).append(place)
        table = np.zeros((len(self.pictures), len(names)), dtype=np.bool_)
        for row, (picture, tags) in enumerate(zip(self.pictures, self.tags, strict=True)):
            if unknown := sorted(tags - columns.keys()):
                raise UsageError(f"{picture}: the tag {unknown[0]!r} is not in the list of {len(names)} tags")
            for tag in tags:
                table[row, columns[tag]] = True
        return table


def parse_annotations(text: str) -> Annotations:
    """Lines of the form ``picture,tag,tag``, as the released annotation and prediction files have them.

    Blanks around names do not count, and empty lines are passed over.
    """
    pictures, found = [], []
    for line in text.split("\n"):
        picture, *tags = (part.strip() for part in line.split(","))
        if picture or any(tags):
            pictures.append(picture)
            found.append(frozenset(tag for tag in tags if tag))
    return Annotations(tuple(pictures), tuple(found))


def read_annotations(path: str | Path) -> Annotations:
    """:func:`parse_annotations` of a UTF-8 file.

    Raises:
        UsageError: If the file cannot be read.
    """
    try:
        return parse_annotations(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the annotations cannot be read ({error}); give a text file in UTF-8") from error


@dataclass(frozen=True, slots=True)
class PublishedMap:
    """Mean average precision as published.

    Attributes:
        mean: Over all classes, in [0, 1]; the papers print it times 100.
        classes: ``[C]``, each class's average precision; 0 without positives.
    """

    mean: float
    classes: NDArray[np.float64]


def published_map(scores: ArrayLike, truth: Annotations, names: Sequence[str]) -> PublishedMap:
    """Mean average precision by the definition of ``get_mAP``.

    Every class's average precision (:func:`~anytag.evaluation.tagging.average_precision`) has its positives plus 1e-8
    for a denominator, and is 0 where there are none.

    Args:
        scores: ``[pictures, C]``, in the order of the annotations and of the names.
        truth: The annotated pictures.
        names: The C classes; a name may stand twice.

    Raises:
        UsageError: If the scores are not of that shape, one is not a number, or a tag is not among the names.
    """
    values, targets = np.asarray(scores, dtype=np.float64), truth.matrix(names)
    if values.shape != targets.shape:
        raise UsageError(
            f"the scores have the shape {values.shape}, but there are {len(targets)} annotated pictures and "
            f"{len(names)} tags"
        )
    positives = targets.sum(axis=0)
    classes = np.nan_to_num(average_precisions(values, targets)) * (positives / (positives + 1e-8))
    return PublishedMap(float(classes.mean()), classes)


@dataclass(frozen=True, slots=True)
class PublishedPrecisionRecall:
    """Precision and recall as published, each in [0, 1].

    Attributes:
        precision: Mean over the classes; one that is never predicted has precision 0.
        recall: Mean over the classes; one without positives has recall 0.
        f1: Harmonic mean of the two means, as in the papers' tables.
        names: ``C`` distinct classes, in the order of the list.
        precisions: ``[C]``.
        recalls: ``[C]``.
    """

    precision: float
    recall: float
    f1: float
    names: tuple[str, ...]
    precisions: NDArray[np.float64]
    recalls: NDArray[np.float64]


def published_precision_recall(
    predicted: Annotations, truth: Annotations, names: Sequence[str]
) -> PublishedPrecisionRecall:
    """Precision and recall by the definition of ``get_PR``: macro averages, 1e-9 in every denominator.

    Pictures are matched by name, whatever their order in the two files.

    Args:
        predicted: The tags that were given.
        truth: The tags that hold.
        names: The classes; one that stands twice counts once.

    Raises:
        UsageError: If the two do not hold the same pictures, there are none, or a tag is not among the names; or if
            a picture stands on several lines, and these are not the same in both.
    """
    if not truth.pictures:
        raise UsageError("there are no annotated pictures, so there is nothing to measure")
    distinct = tuple(dict.fromkeys(name.strip() for name in names))
    given = predicted.matrix(distinct)[_rows(predicted.pictures, truth.pictures)]
    targets = truth.matrix(distinct)
    right = (given & targets).sum(axis=0)
    precisions = right / (given.sum(axis=0) + 1e-9)
    recalls = right / (targets.sum(axis=0) + 1e-9)
    precision, recall = float(precisions.mean()), float(recalls.mean())
    total = precision + recall
    f1 = 2 * precision * recall / total if total else 0.0
    return PublishedPrecisionRecall(precision, recall, f1, distinct, precisions, recalls)


def _rows(predicted: tuple[str, ...], annotated: tuple[str, ...]) -> list[int]:
    """Where each annotated picture stands in the predictions."""
    if predicted == annotated:
        return list(range(len(annotated)))
    row = {picture: place for place, picture in enumerate(predicted)}
    for pictures in (predicted, annotated):
        if len(set(pictures)) < len(pictures):
            twice = Counter(pictures).most_common(1)[0][0]
            raise UsageError(f"{twice!r} stands on several lines, so predictions cannot be matched by name; merge them")
    missing = [picture for picture in annotated if picture not in row]
    surplus = sorted(row.keys() - set(annotated))
    if missing or surplus:
        which = f"{missing[0]!r} has no prediction" if missing else f"{surplus[0]!r} is not annotated"
        raise UsageError(f"{len(missing) + len(surplus)} pictures are not in both annotations and predictions: {which}")
    return [row[picture] for picture in annotated]
