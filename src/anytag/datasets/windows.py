"""Shuffling what can only be read from front to back: windows of samples, each shuffled as a whole.

Unlike a buffer from which samples are drawn one by one, windows have beginnings. A run is taken up by reading its
window once more; no samples have to be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from anytag.datasets.samples import Sample
from anytag.errors import SampleError

_PURPOSE = 0x5B

ReadPart = Callable[[int, int], Iterator[Sample | SampleError]]


@dataclass(frozen=True, slots=True)
class Window:
    """Some consecutive samples.

    Attributes:
        number: Its place among the epoch's windows.
        part: Among the parts that are read, the one in which it begins.
        row: The number in that part of its first sample.
        items: Its samples in the order in which they were read, errors in their places.
    """

    number: int
    part: int
    row: int
    items: list[Sample | SampleError]

    def shuffled(self, seed: int, epoch: int, consumer: int) -> list[Sample | SampleError]:
        """Its samples in random order."""
        order = np.random.default_rng((seed, _PURPOSE, epoch, consumer, self.number)).permutation(len(self.items))
        return [self.items[place] for place in order]


def read_windows(
    read: ReadPart,
    parts: Sequence[int],
    size: int,
    *,
    slot: int = 0,
    slots: int = 1,
    number: int = 0,
    part: int = 0,
    row: int = 0,
) -> Iterator[Window]:
    """Cut parts into windows.

    Args:
        read: Gives the samples of a part from a row on.
        parts: What is read, in order.
        size: Samples in a window; the last may have fewer.
        slot: Which of each ``slots`` samples of a part to take; errors about the rest of a part are always taken.
        slots: See ``slot``.
        number: The number of the first window.
        part: Where to begin: the place of a part in ``parts``.
        row: Where to begin: the row in that part.

    Yields:
        Windows of at least one item.
    """
    items: list[Sample | SampleError] = []
    begin = (part, row)
    for place in range(part, len(parts)):
        at = row if place == part else 0
        for item in read(parts[place], at):
            if at % slots == slot or (isinstance(item, SampleError) and item.kind == "shard"):
                if not items:
                    begin = (place, at)
                items.append(item)
            at += 1
            if len(items) == size:
                yield Window(number, *begin, items)
                number, items = number + 1, []
    if items:
        yield Window(number, *begin, items)
