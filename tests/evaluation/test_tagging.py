"""Tagging metrics: hand-worked cases, the reference's own numbers, scikit-learn, and thresholds that generalize."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.errors import UsageError
from anytag.evaluation.tagging import (
    average_precision,
    average_precisions,
    best_common_threshold,
    best_thresholds,
    mean_average_precision,
    precision_recall_f1,
)

ORACLE = json.loads((Path(__file__).parents[1] / "fixtures" / "oracle" / "metrics.json").read_text())
CASES = ORACLE["cases"]


def annotations(text, names):
    """The reference's ``picture,tag,tag`` lines as [N, C]; a name twice in the list has two columns."""
    lines = [set(line.split(",")[1:]) for line in text.splitlines()]
    return np.array([[name in tags for name in names] for tags in lines])


# --- average precision


def test_average_precision_by_hand():
    # Positives at ranks 1, 3 and 4: (1/1 + 2/3 + 3/4) / 3.
    assert average_precision([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1]) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert average_precision([3, 2, 1], [1, 1, 0]) == 1.0
    assert np.isnan(average_precision([0.1, 0.2], [0, 0]))


def test_equal_scores_enter_together_in_any_order():
    # Ranks 1 to 3 are one point with precision 2/3.
    for targets in ([1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 1, 1]):
        assert average_precision([0.5, 0.5, 0.5, 0.1], targets) == pytest.approx((2 * 2 / 3 + 3 / 4) / 3)
    assert average_precision(np.zeros(10), [1] + [0] * 9) == pytest.approx(0.1)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_equals_the_reference_map(case):
    targets = annotations(case["gt_file"], case["taglist"])
    mean, classes = case["get_mAP"]["result"]
    np.testing.assert_allclose(np.nan_to_num(average_precisions(case["preds"], targets)), classes, rtol=2e-8)
    assert mean_average_precision(case["preds"], targets, empty="zero") == pytest.approx(mean, rel=2e-8)
    with_positives = [value for value, any_ in zip(classes, targets.any(axis=0), strict=True) if any_]
    assert mean_average_precision(case["preds"], targets) == pytest.approx(np.mean(with_positives), rel=2e-8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([3, 10, 10**6]))
def test_equals_scikit_learn(seed, pictures, levels):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn, to compare with, is not installed")
    rng = np.random.default_rng(seed)
    scores, targets = rng.integers(0, levels, pictures) / levels, rng.random(pictures) < 0.4
    targets[0] = True
    assert average_precision(scores, targets) == pytest.approx(sklearn.average_precision_score(targets, scores))


# --- precision, recall, F1


@pytest.mark.parametrize("case", [case for case in CASES if case["get_PR"]["ok"]], ids=lambda case: case["name"])
def test_equals_the_reference_precision_and_recall(case):
    names = case["taglist"]
    predicted, targets = annotations(case["pred_file"], names), annotations(case["gt_file"], names)
    precision, recall, *_ = case["get_PR"]["result"]
    result = precision_recall_f1(predicted, targets, empty="zero")
    assert (result.precision, result.recall) == pytest.approx((precision, recall), rel=1e-8)


def test_macro_f1_is_the_harmonic_mean_of_the_means():
    targets = np.array([[1, 1], [1, 0], [0, 0], [0, 0]])
    predicted = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])  # class 1 is never predicted: precision 0
    result = precision_recall_f1(predicted, targets)
    assert (result.precision, result.recall) == (0.25, 0.25)
    assert result.f1 == pytest.approx(0.25)
    micro = precision_recall_f1(predicted, targets, average="micro")
    assert (micro.precision, micro.recall) == pytest.approx((1 / 2, 1 / 3))
    assert micro.f1 == pytest.approx(0.4)
    nothing = precision_recall_f1(np.zeros((4, 2)), targets)
    assert nothing.f1 == 0.0


def test_classes_without_positives():
    targets = np.array([[1, 0], [0, 0]])
    predicted = np.array([[1, 1], [0, 0]])
    assert precision_recall_f1(predicted, targets).f1 == 1.0
    assert precision_recall_f1(predicted, targets, empty="zero").f1 == 0.5
    assert precision_recall_f1(predicted, targets, average="micro").precision == 0.5  # false alarms count here
    assert mean_average_precision(predicted, targets) == 1.0
    assert mean_average_precision(predicted, targets, empty="zero") == 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 5))
def test_precision_and_recall_equal_scikit_learn(seed, pictures, classes):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn, to compare with, is not installed")
    rng = np.random.default_rng(seed)
    predicted, targets = rng.random((2, pictures, classes)) < 0.4
    targets[0, 0] = True
    for average in ("macro", "micro"):
        given = (targets.astype(int), predicted.astype(int))
        if classes == 1:
            given, average_ = (targets[:, 0], predicted[:, 0]), "binary"
        else:
            average_ = average
        ours = precision_recall_f1(predicted, targets, average=average, empty="zero")
        theirs = sklearn.precision_recall_fscore_support(*given, average=average_, zero_division=0)
        assert (ours.precision, ours.recall) == pytest.approx(theirs[:2])


# --- thresholds


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
        (lambda: mean_average_precision(np.zeros((2, 3)), np.zeros((2, 2))), "must both be"),
        (lambda: mean_average_precision(np.zeros((0, 3)), np.zeros((0, 3))), "must both be"),
        (lambda: mean_average_precision([[0.1, np.nan]], [[1, 0]]), "picture 0 for class 1"),
        (lambda: mean_average_precision([[0.1]], [[0]]), "no class has a positive"),
        (lambda: mean_average_precision([[0.1]], [[1]], empty="drop"), "'exclude' or 'zero'"),
        (lambda: precision_recall_f1([[1]], [[1]], average="weighted"), "'macro' or 'micro'"),
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
