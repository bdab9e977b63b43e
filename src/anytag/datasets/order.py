"""Shuffled order and its division among consumers: pure functions of seed, epoch and place.

Consumers are the workers of all ranks. Consumer ``c`` of ``C`` takes places ``c``, ``c + C``, ``c + 2C`` … of an
epoch's order; worker ``w`` of rank ``r`` is consumer ``r + world_size * w``. So shares are disjoint, complete, and
differ in size by one at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

#: If an epoch's samples do not divide evenly: some shares are longer by one, the last samples are dropped, or the
#: first ones are repeated.
Tail = Literal["keep", "drop", "pad"]

Order = npt.NDArray[np.unsignedinteger[Any]]

#: Separates the random numbers of orders from others with the same seed.
_PURPOSE = 0x5A

#: In place of a count: all samples.
ALL = -1


def epoch_order(count: int, seed: int, epoch: int, shuffled: bool = True) -> Order:
    """Return the numbers 0 to ``count - 1``, permuted for each epoch unless ``shuffled`` is ``False``.

    They take 4 bytes each, 8 from 2^32 on.
    """
    order: Order = np.arange(count, dtype=np.uint32 if count <= 1 << 32 else np.uint64)
    if shuffled:
        np.random.default_rng((seed, _PURPOSE, epoch)).shuffle(order)
    return order


def share_of(order: Order, consumer: int, consumers: int, tail: Tail = "keep") -> Order:
    """Return a consumer's share of an epoch's order; see :data:`Tail`."""
    if tail == "drop":
        order = order[: len(order) - len(order) % consumers]
    elif tail == "pad" and len(order):
        order = np.concatenate([order, np.resize(order, -len(order) % consumers)])
    # A copy, so that the whole order can be freed.
    return order[consumer::consumers].copy() if consumers > 1 else order


def share_size(count: int, consumer: int, consumers: int, tail: Tail = "keep") -> int:
    """Return the length of :func:`share_of` for an order of ``count``."""
    if tail == "drop":
        return count // consumers
    return -(-count // consumers) if tail == "pad" else len(range(consumer, count, consumers))


def without_taken(order: Order, taken: Sequence[int]) -> Order:
    """Return the rest of an order after each consumer has taken so many of its share (:data:`ALL` for all)."""
    left = np.ones(len(order), bool)
    for consumer, count in enumerate(taken):
        share = left[consumer :: len(taken)]
        share[: len(share) if count == ALL else count] = False
    return order[left]


def divide_parts(parts: Sequence[int], consumer: int, consumers: int) -> tuple[list[int], int, int]:
    """Return the parts that a consumer reads if samples are not numbered.

    If there are at least as many parts as consumers, each part has one reader; else a part's readers take its samples
    in turn.

    Returns:
        The parts in order; and of each ``slots`` samples in a row the one to take: ``(parts, slot, slots)``.
    """
    if len(parts) >= consumers:
        return list(parts[consumer::consumers]), 0, 1
    place = consumer % len(parts)
    return [parts[place]], consumer // len(parts), len(range(place, consumers, len(parts)))
