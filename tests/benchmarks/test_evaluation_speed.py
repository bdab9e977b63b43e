"""``benchmarks/evaluation_speed.py`` and ``baseline_overhead.py``: what is measured, at sizes that take a moment."""

from __future__ import annotations

import pytest
from conftest import require_module

evaluation_speed = pytest.importorskip("evaluation_speed")


def test_both_figures_are_timed():
    found = evaluation_speed.measure(300, rounds=1)
    assert list(found["seconds"]) == ["mean average precision", "all figures, a common threshold fitted"]
    assert all(taken["processor"] >= 0 for taken in found["seconds"].values())


def test_overhead_is_what_is_around_the_model():
    require_module("transformers")
    found = pytest.importorskip("baseline_overhead").measure(8, rounds=2, tiny=True)
    taken = found["processor_seconds"]
    assert all(seconds > 0 for seconds in taken.values())
    low, high = found["overhead_range"]
    assert low <= found["overhead"] <= high < 2
