"""Intervals: that of a coin's mean, worked out; that of mean average precision, by drawing and measuring again."""

from __future__ import annotations

import numpy as np
import pytest

from anytag.evaluation.bootstrap import bootstrap, bootstrap_map, interval_95
from anytag.evaluation.ranking import RankedScores


def draw(pictures: int, classes: int, ties: bool = False):
    rng = np.random.default_rng(0)
    truth = rng.random((pictures, classes)) < 0.2
    truth[0] = True
    scores = np.clip(rng.normal(0.35, 0.2, truth.shape) + 0.3 * truth, 0, 1)
    return (scores.round(1) if ties else scores), truth


def test_the_interval_leaves_out_a_fortieth_at_either_end():
    assert interval_95(range(41)) == (1, 39)


def test_the_interval_of_a_share_is_the_binomial_one():
    """400 pictures, half of them hits: a deviation of half over the root of 400, times 1.96."""
    hits = np.arange(400) < 200
    low, high = bootstrap(lambda rows: float(hits[rows].mean()), 400, 4000)
    assert (low, high) == pytest.approx((0.5 - 0.049, 0.5 + 0.049), abs=0.003)
    assert (low, high) == bootstrap(lambda rows: float(hits[rows].mean()), 400, 4000)
    assert (low, high) != bootstrap(lambda rows: float(hits[rows].mean()), 400, 4000, seed=1)


def test_the_interval_holds_the_figure_and_repeats():
    scores, truth = draw(300, 7)
    figure = np.nanmean(RankedScores(scores, truth).average_precisions())
    low, high = bootstrap_map(scores, truth, 100, seed=3)
    assert low < figure < high
    assert (low, high) == bootstrap_map(scores, truth, 100, seed=3)


def test_it_equals_resampling_and_measuring_again():
    scores, truth = draw(40, 2, ties=True)
    rng, means = np.random.default_rng(5), []
    for _ in range(50):
        rows = rng.integers(0, 40, 40)
        known = truth[rows].any(0)
        means.append(np.nanmean(RankedScores(scores[rows][:, known], truth[rows][:, known]).average_precisions()))
    assert bootstrap_map(scores, truth, 50, seed=5) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=1e-6)
