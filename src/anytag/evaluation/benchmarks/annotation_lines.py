"""The annotation files that the authors of RAM published: a picture a line, its classes behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anytag.evaluation.benchmarks.benchmark import BenchmarkError, read_lines, target_matrix


def read_named(path: Path, names: list[str]) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Lines ``picture,tag,tag``: pictures, and ``[N, C]``; a name that stands twice has two equal columns.

    Raises:
        BenchmarkError: If a tag is not in the list, or a picture stands twice.
    """
    columns: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        columns.setdefault(name, []).append(place)
    pictures, rows = [], []
    for number, line in enumerate(read_lines(path), 1):
        picture, *tags = (part.strip() for part in line.split(","))
        places: list[int] = []
        for tag in filter(None, tags):
            if tag not in columns:
                raise BenchmarkError(f"{path}: line {number}: {tag!r} is not one of the {len(names)} classes")
            places += columns[tag]
        pictures.append(picture)
        rows.append(places)
    _refuse_twice(path, pictures)
    return tuple(pictures), target_matrix(path, rows, len(pictures), len(names))


def read_numbered(path: Path, classes: int) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Lines ``picture,id id`` with ids from 0: pictures, and ``[N, C]``.

    Raises:
        BenchmarkError: If an id is not a number or too large, or a picture stands twice.
    """
    pictures, rows = [], []
    for number, line in enumerate(read_lines(path), 1):
        picture, _, ids = line.partition(",")
        try:
            rows.append([int(id) for id in ids.split()])
        except ValueError:
            raise BenchmarkError(f"{path}: line {number}: {ids!r:.60} are not the numbers of classes") from None
        pictures.append(picture.strip())
    _refuse_twice(path, pictures)
    return tuple(pictures), target_matrix(path, rows, len(pictures), classes)


def _refuse_twice(path: Path, pictures: list[str]) -> None:
    if len(set(pictures)) < len(pictures):
        seen: set[str] = set()
        twice = next(picture for picture in pictures if picture in seen or seen.add(picture))  # type: ignore[func-returns-value]
        raise BenchmarkError(f"{path}: {twice} stands on several lines; merge them")
