"""Thresholds: worked by hand, the best there are, and good on pictures that they were not fitted on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.errors import UsageError
from anytag.evaluation.thresholds import best_common_threshold, best_thresholds


def f1_at(scores, targets, thresholds):
    """Mean over the classes with positives of their F1."""
    predicted = scores >= thresholds
    right = (predicted & targets).sum(axis=0)
    f1 = 2 * right / np.maximum(predicted.sum(axis=0) + targets.sum(axis=0), 1)
    return f1[targets.any(axis=0)].mean()


def test_threshold_lies_between_the_scores_it_parts():
    scores = np.array([[0.9], [0.8], [0.4], [0.1]])
    result = best_thresholds(scores, [[1], [1], [0], [0]], shrinkage=0)
    between = 1 / (1 + np.sqrt((0.2 / 0.8) * (0.6 / 0.4)))  # half way in log-odds
    assert result.values[0] == result.own[0] == pytest.approx(between)
    assert 0.4 < result.overall <= 0.8


def test_the_highest_of_equally_good_thresholds():
    # F1 2/3 with the first alone and 2/3 with the first four (2 of 2 found, 2 wrong).
    result = best_thresholds([[0.9], [0.7], [0.5], [0.3]], [[1], [0], [0], [1]], shrinkage=0)
    assert 0.7 < result.own[0] < 0.9


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.sampled_from([4, 20, 10**6]))
def test_own_thresholds_are_the_best_there_are(seed, pictures, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels + 1, (pictures, 1)) / levels  # 0 and 1 occur
    targets = rng.random((pictures, 1)) < 0.4
    targets[0] = True
    result = best_thresholds(scores, targets, shrinkage=0)
    best = max(f1_at(scores, targets, t) for t in scores[:, 0])
    assert f1_at(scores, targets, result.values) == pytest.approx(best)
    assert ((result.values >= 0) & (result.values <= 1)).all()


def test_few_positives_lean_on_the_common_threshold():
    rng = np.random.default_rng(0)
    scores = rng.random((400, 4))
    targets = scores > np.array([0.3, 0.3, 0.8, 2.0])  # the last has no positive
    targets[:, 1] &= np.cumsum(targets[:, 1]) <= 5  # few positives, and a score that says little
    result = best_thresholds(scores, targets, shrinkage=20)
    assert np.isnan(result.own[3])
    assert result.values[3] == pytest.approx(result.overall)
    assert result.positives[3] == 0
    # The stated formula: weight positives / (positives + 20), in log-odds.
    weight = result.positives[:3] / (result.positives[:3] + 20)
    odds = weight * np.log(result.own[:3] / (1 - result.own[:3])) + (1 - weight) * np.log(
        result.overall / (1 - result.overall)
    )
    np.testing.assert_allclose(result.values[:3], 1 / (1 + np.exp(-odds)))
    trusting = best_thresholds(scores, targets, shrinkage=0)
    np.testing.assert_array_equal(trusting.values[:3], trusting.own[:3])
    assert trusting.values[3] == trusting.overall


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spread", [0.0, 0.7, 2.0])
def test_the_chosen_shrinkage_pays_on_unseen_pictures(seed, spread):
    """Classes whose right thresholds are alike, or differ; half have about 4 positives, half about 100."""
    rng = np.random.default_rng(seed)
    frequency = np.repeat([0.004, 0.1], 50)
    prior = np.log(frequency / (1 - frequency))  # as in a calibrated model
    shift = rng.normal(0, spread, 100)

    def draw(pictures):
        targets = rng.random((pictures, 100)) < frequency
        evidence = rng.normal(size=targets.shape) * 2.5 + np.where(targets, 3.125, -3.125)
        return 1 / (1 + np.exp(-(evidence + prior + shift))), targets

    seen, unseen = draw(1000), draw(3000)
    result = best_thresholds(*seen)
    quality = f1_at(*unseen, result.values)
    alone, overall = f1_at(*unseen, best_thresholds(*seen, shrinkage=0).values), f1_at(*unseen, result.overall)
    assert quality > max(alone, overall) - 0.01
    assert quality > min(alone, overall) + 0.005


def test_one_picture_is_enough():
    assert best_thresholds([[0.5, 0.5]], [[1, 0]]).values[0] <= 0.5


# --- what does not fit


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: best_thresholds([[1.5]], [[1]]), "sigmoid"),
        (lambda: best_thresholds([[0.5]], [[0]]), "no class has a positive"),
        (lambda: best_thresholds([[0.5]], [[1]], shrinkage=-1), "shrinkage"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_best_common_threshold_by_hand():
    scores = np.array([[0.9, 0.6], [0.8, 0.2], [0.3, 0.7]])
    truth = np.array([[1, 0], [0, 0], [0, 1]], dtype=bool)
    # From 0.7 on: 0.9 and 0.7 right, 0.8 wrong, none missed: 2 * 2 / (3 + 2).
    assert best_common_threshold(scores, truth) == (0.7, pytest.approx(0.8))
