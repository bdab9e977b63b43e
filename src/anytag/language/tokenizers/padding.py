"""Pad rows of token ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def padded(rows: Sequence[Sequence[int]], pad: int = 0) -> NDArray[np.int64]:
    """Pad rows at the end: ``[len(rows), longest]``."""
    ids = np.full((len(rows), max(map(len, rows), default=0)), pad, np.int64)
    for filled, row in zip(ids, rows, strict=True):
        filled[: len(row)] = row
    return ids


def batches_by_length(rows: Sequence[Sequence[int]], size: int) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """Batch rows of similar length, which need little padding.

    Yields:
        The rows' indices, and the rows padded with 0, ``[batch, longest]``.
    """
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield chosen, padded([rows[index] for index in chosen])
