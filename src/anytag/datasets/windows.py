"""Shuffle sequential data: windows of samples, each shuffled as a whole.

Unlike a shuffle buffer, windows have a start: a run resumes by reading its window again, and no samples have to be
saved.
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
    """Consecutive samples.

    Attributes:
        part: Index, among the parts that are read, of the one in which it starts.
        row: Row of its first sample in that part.
        items: Its samples in order, with errors in place of unreadable ones.
    """

    number: int
    part: int
    row: int
    items: list[Sample | SampleError]

    def shuffled(self, seed: int, epoch: int, consumer: int) -> list[Sample | SampleError]:
        """Return the samples in random order."""
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
    """Divide parts into windows.

    Args:
        read: Reads the samples of a part from a row on.
        parts: The parts, in order.
        size: Samples per window; the last may have fewer.
        slot: Which of each ``slots`` samples of a part to take; errors about the rest of a part are always taken.
        slots: See ``slot``.
        number: The number of the first window.
        part: Index in ``parts`` of the first part.
        row: First row in that part.

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
