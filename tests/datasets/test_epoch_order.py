from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.datasets.order import ALL, divide_parts, epoch_order, share_of, share_size, without_taken


@given(count=st.integers(0, 300), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_an_epoch_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    order = epoch_order(count, seed, epoch)
    assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, epoch_order(count, seed, epoch))


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert epoch_order(5, 0, 3, shuffled=False).tolist() == [0, 1, 2, 3, 4]


def test_all_permutations_are_equally_likely() -> None:
    seen = [tuple(epoch_order(3, 7, epoch).tolist()) for epoch in range(6000)]
    counts = np.unique(seen, axis=0, return_counts=True)[1]
    # Six permutations, 1,000 each: five standard deviations are 144.
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 144


@given(count=st.integers(0, 200), consumers=st.integers(1, 17))
def test_shares_are_disjoint_cover_all_and_differ_by_one(count: int, consumers: int) -> None:
    order = epoch_order(count, 1, 0)
    shares = [share_of(order, consumer, consumers) for consumer in range(consumers)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(count))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == [share_size(count, consumer, consumers) for consumer in range(consumers)]


@given(count=st.integers(1, 200), consumers=st.integers(1, 17))
def test_shares_can_be_made_equal(count: int, consumers: int) -> None:
    order = epoch_order(count, 1, 0)
    dropped = [share_of(order, consumer, consumers, "drop").tolist() for consumer in range(consumers)]
    assert {len(share) for share in dropped} == {count // consumers} == {share_size(count, 0, consumers, "drop")}
    assert len({index for share in dropped for index in share}) == count - count % consumers
    padded = [share_of(order, consumer, consumers, "pad").tolist() for consumer in range(consumers)]
    assert {len(share) for share in padded} == {-(-count // consumers)} == {share_size(count, 0, consumers, "pad")}
    assert {index for share in padded for index in share} == set(range(count))


def test_ranks_take_turns() -> None:
    order = np.arange(10, 20, dtype=np.uint32)
    assert share_of(order, 1, 4).tolist() == [11, 15, 19]
    assert share_of(order, 3, 4).tolist() == [13, 17]
    assert share_of(order, 3, 4, "pad").tolist() == [13, 17, 11]
    assert share_of(order, 1, 4, "drop").tolist() == [11, 15]


def test_taken_samples_are_left_out() -> None:
    order = np.array([5, 3, 0, 4, 1, 2], np.uint32)
    # Shares are 5, 4 and 3, 1 and 0, 2.
    assert without_taken(order, [1, 0, 2]).tolist() == [3, 4, 1]
    assert without_taken(order, [ALL, 1, 0]).tolist() == [0, 1, 2]
    assert without_taken(order, [0]).tolist() == order.tolist()


@settings(max_examples=50, deadline=None)
@given(parts=st.integers(1, 20), consumers=st.integers(1, 20))
def test_every_row_of_every_part_has_one_reader(parts: int, consumers: int) -> None:
    taken = []
    for consumer in range(consumers):
        own, slot, slots = divide_parts(range(parts), consumer, consumers)
        taken += [(part, row) for part in own for row in range(24) if row % slots == slot]
    assert sorted(taken) == [(part, row) for part in range(parts) for row in range(24)]


def test_an_order_takes_four_bytes_per_sample() -> None:
    assert epoch_order(1000, 0, 0).nbytes == 4000
