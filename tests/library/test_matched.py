"""Combining the pictures that parts of a query match, and selecting the best scores."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anytag.library.matched import Matched, best_places, common_positions, in_all, in_any, without

PART = st.dictionaries(st.integers(0, 12), st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=8)


def matched(scores):
    return Matched(np.array(sorted(scores), np.int64), np.array([scores[key] for key in sorted(scores)], np.float32))


def scores_of(part):
    assert part.entries.dtype == np.int64
    assert list(part.entries) == sorted(part.entries)
    return dict(zip(part.entries.tolist(), part.scores.tolist(), strict=True))


@given(st.lists(PART, min_size=1, max_size=4))
def test_parts_of_a_query_are_combined_like_sets(parts):
    keys = set().union(*parts)
    expected = {key: max(part[key] for part in parts if key in part) for key in keys}
    assert scores_of(in_any(list(map(matched, parts)))) == expected
    both = set(parts[0]).intersection(*parts[1:])
    assert scores_of(in_all(list(map(matched, parts)))) == {key: sum(part[key] for part in parts) for key in both}
    first, last = matched(parts[0]), matched(parts[-1])
    assert scores_of(without(first, last)) == {key: parts[0][key] for key in set(parts[0]) - set(parts[-1])}
    ours, theirs = common_positions(first.entries, last.entries)
    assert first.entries[ours].tolist() == last.entries[theirs].tolist() == sorted(set(parts[0]) & set(parts[-1]))


def test_nothing_at_all():
    assert scores_of(in_any([])) == {}


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=30), st.integers(0, 35))
def test_the_best_come_first_and_of_equal_ones_the_first(scores, count):
    expected = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:count]
    assert best_places(np.array(scores, np.float32), count).tolist() == expected
