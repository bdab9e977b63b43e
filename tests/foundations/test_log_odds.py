"""Log-odds and probabilities against values worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytag.foundations.log_odds import EDGE, log_odds, lowered, sigmoid


def test_odds_of_three_to_one() -> None:
    assert log_odds(0.75) == pytest.approx(np.log(3))
    assert sigmoid(np.log(3)) == pytest.approx(0.75)


def test_an_edge_keeps_certainty_finite() -> None:
    assert log_odds([0.0, 0.5, 1.0], EDGE) == pytest.approx([-13.8155, 0.0, 13.8155], abs=1e-3)


def test_without_an_edge_tiny_probabilities_stay_apart() -> None:
    assert log_odds(1e-12) == pytest.approx(-27.6310, abs=1e-3)


def test_probabilities_keep_their_precision() -> None:
    assert sigmoid(np.zeros((2, 3), np.float32)).dtype == np.float32


def test_lowered_by_log_odds() -> None:
    # Three to one become one to one; certainty is cut off first.
    assert lowered([0.75, 1.0], np.log(3)) == pytest.approx([0.5, 1 - 3e-6], abs=1e-7)
    assert lowered(0.75, 0.0) == pytest.approx(0.75)


@given(st.floats(-20, 20))
def test_one_undoes_the_other(odds: float) -> None:
    assert log_odds(sigmoid(odds)) == pytest.approx(odds, rel=1e-6, abs=1e-6)
