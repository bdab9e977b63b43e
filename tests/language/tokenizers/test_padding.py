"""Ragged rows of ids as arrays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anytag.language.tokenizers.padding import batches_by_length, padded

ROWS = st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=12)


def test_rows_are_filled_up_at_the_end() -> None:
    assert padded([[5, 6, 7], [], [8]]).tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0]]
    assert padded([[5], [6, 7]], pad=3).tolist() == [[5, 3], [6, 7]]
    assert padded([]).shape == (0, 0)


def test_batches_hold_rows_of_similar_length() -> None:
    batches = [(places, ids.tolist()) for places, ids in batches_by_length([[1, 2, 3], [4], [5, 6], [7]], 2)]
    assert batches == [([1, 3], [[4], [7]]), ([2, 0], [[5, 6, 0], [1, 2, 3]])]


@given(ROWS, st.integers(1, 5))
def test_every_row_comes_once_and_whole(rows: list[list[int]], size: int) -> None:
    seen = {}
    for places, ids in batches_by_length(rows, size):
        assert len(places) <= size
        seen |= {place: [token for token in row if token] for place, row in zip(places, ids.tolist(), strict=True)}
    assert [seen[place] for place in range(len(rows))] == rows
