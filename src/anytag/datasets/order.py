"""Exactly shuffled order, and its division among the consumers of a run: pure functions of seed, epoch and place.

Consumers are the workers of all ranks. Consumer ``c`` of ``C`` takes places ``c``, ``c + C``, ``c + 2C`` … of an
epoch's order; worker ``w`` of rank ``r`` is consumer ``r + world_size * w``. So shares are disjoint, cover everything,
and differ in size by one at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

#: What becomes of an epoch's last samples where they do not divide evenly: some shares are longer by one, they are left
#: out, or the epoch's first samples are repeated.
Tail = Literal["keep", "drop", "pad"]

Order = npt.NDArray[np.unsignedinteger[Any]]

#: Keeps the random numbers of orders apart from others drawn under the same seed.
_PURPOSE = 0x5A

#: In place of a count: everything that there was.
ALL = -1


def epoch_order(count: int, seed: int, epoch: int, shuffled: bool = True) -> Order:
    """The numbers 0 to ``count - 1`` in the order of an epoch; 4 bytes each (8 from 2^32 on).

    Args:
        count: Samples in all.
        seed: 0 or more.
        epoch: 0 or more; every epoch has its own permutation.
        shuffled: ``False``: in order.
    """
    order: Order = np.arange(count, dtype=np.uint32 if count <= 1 << 32 else np.uint64)
    if shuffled:
        np.random.default_rng((seed, _PURPOSE, epoch)).shuffle(order)
    return order


def share_of(order: Order, consumer: int, consumers: int, tail: Tail = "keep") -> Order:
    """What one consumer takes of an order.

    Args:
        order: The epoch's order.
        consumer: Which one, from 0.
        consumers: How many there are.
        tail: See :data:`Tail`.
    """
    if tail == "drop":
        order = order[: len(order) - len(order) % consumers]
    elif tail == "pad" and len(order):
        order = np.concatenate([order, np.resize(order, -len(order) % consumers)])
    # A copy lets the order of all consumers go.
    return order[consumer::consumers].copy() if consumers > 1 else order


def share_size(count: int, consumer: int, consumers: int, tail: Tail = "keep") -> int:
    """The length of :func:`share_of` for an order of ``count``."""
    if tail == "drop":
        return count // consumers
    return -(-count // consumers) if tail == "pad" else len(range(consumer, count, consumers))


def without_taken(order: Order, taken: Sequence[int]) -> Order:
    """What is left of an order when each of ``len(taken)`` consumers has taken the first so many of its share.

    Args:
        order: The order that was divided.
        taken: By consumer, how many; :data:`ALL` for all.
    """
    left = np.ones(len(order), bool)
    for consumer, count in enumerate(taken):
        share = left[consumer :: len(taken)]
        share[: len(share) if count == ALL else count] = False
    return order[left]


def divide_parts(parts: Sequence[int], consumer: int, consumers: int) -> tuple[list[int], int, int]:
    """The parts that one consumer reads where samples are not numbered.

    With as many parts as consumers or more, each part has one reader. With fewer, the readers of a part take its
    samples in turn.

    Returns:
        The parts in order; and of each ``slots`` samples in a row the one to take: ``(parts, slot, slots)``.
    """
    if len(parts) >= consumers:
        return list(parts[consumer::consumers]), 0, 1
    place = consumer % len(parts)
    return [parts[place]], consumer // len(parts), len(range(place, consumers, len(parts)))
