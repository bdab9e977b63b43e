"""Ragged rows of token ids as rectangular arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def padded(rows: Sequence[Sequence[int]], pad: int = 0) -> NDArray[np.int64]:
    """Rows of different lengths, filled up at the end.

    Args:
        rows: Token ids.
        pad: What they are filled up with.

    Returns:
        ``[len(rows), longest]``.
    """
    ids = np.full((len(rows), max(map(len, rows), default=0)), pad, np.int64)
    for filled, row in zip(ids, rows, strict=True):
        filled[: len(row)] = row
    return ids


def batches_by_length(rows: Sequence[Sequence[int]], size: int) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """Batches of rows of similar length, so that little is padded with zeros.

    Args:
        rows: Token ids.
        size: Rows in a batch; the last may have fewer.

    Yields:
        Where the batch's rows stand in ``rows``, and the rows themselves, ``[batch, longest]``.
    """
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield chosen, padded([rows[place] for place in chosen])
