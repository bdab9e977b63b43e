"""The best of many scores."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anytag.library.matched import best_places


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=30), st.integers(0, 35))
def test_the_best_come_first_and_of_equal_ones_the_first(scores, count):
    expected = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:count]
    assert best_places(np.array(scores, np.float32), count).tolist() == expected
