"""Average precision and what passes a threshold: worked by hand, the reference's own numbers, and scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.errors import UsageError
from anytag.evaluation.ranking import RankedScores, average_precision, average_precisions, best_common_threshold

ORACLE = json.loads((Path(__file__).parents[1] / "fixtures" / "oracle" / "metrics.json").read_text())
CASES = ORACLE["cases"]


def annotations(text, names):
    """The reference's ``picture,tag,tag`` lines as [N, C]; a name twice in the list has two columns."""
    lines = [set(line.split(",")[1:]) for line in text.splitlines()]
    return np.array([[name in tags for name in names] for tags in lines])


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
    assert np.nan_to_num(average_precisions(case["preds"], targets)).mean() == pytest.approx(mean, rel=2e-8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([3, 10, 10**6]))
def test_equals_scikit_learn(seed, pictures, levels):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn, to compare with, is not installed")
    rng = np.random.default_rng(seed)
    scores, targets = rng.integers(0, levels, pictures) / levels, rng.random(pictures) < 0.4
    targets[0] = True
    assert average_precision(scores, targets) == pytest.approx(sklearn.average_precision_score(targets, scores))


def counts(predicted, targets):
    """Counts of a table of predictions."""
    return RankedScores(np.asarray(predicted, np.float32), targets).counts(0.5)


@pytest.mark.parametrize("case", [case for case in CASES if case["get_PR"]["ok"]], ids=lambda case: case["name"])
def test_equals_the_reference_precision_and_recall(case):
    """The reference counts classes without positives as 0."""
    names = case["taglist"]
    predicted, targets = annotations(case["pred_file"], names), annotations(case["gt_file"], names)
    precision, recall, *_ = case["get_PR"]["result"]
    found = counts(predicted, targets)
    assert np.where(found.positives > 0, found.precision, 0).mean() == pytest.approx(precision, rel=1e-8)
    assert np.nan_to_num(found.recall).mean() == pytest.approx(recall, rel=1e-8)


def test_over_all_classes_together():
    targets = np.array([[1, 1], [1, 0], [0, 0], [0, 0]])
    predicted = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])
    assert counts(predicted, targets).micro == pytest.approx((1 / 2, 1 / 3, 0.4))
    assert counts(np.zeros((4, 2)), targets).micro == (0, 0, 0)
    # A false alarm of a class that no picture shows counts here.
    assert counts([[1, 1], [0, 0]], np.array([[1, 0], [0, 0]])).micro == pytest.approx((0.5, 1, 2 / 3))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 5))
def test_all_classes_together_equal_scikit_learn(seed, pictures, classes):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn, to compare with, is not installed")
    predicted, targets = np.random.default_rng(seed).random((2, pictures, classes)) < 0.4
    theirs = sklearn.precision_recall_fscore_support(
        targets.astype(int), predicted.astype(int), average="micro", zero_division=0
    )
    assert counts(predicted, targets).micro == pytest.approx(theirs[:3])


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2)), "scores of 3 classes but annotations of 2"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "must both be"),
        ([[0.1, np.nan]], [[1, 0]], "picture 0 for class 1"),
    ],
)
def test_invalid_arguments_are_rejected(scores, targets, message):
    with pytest.raises(UsageError, match=message):
        average_precisions(scores, targets)


def test_a_class_threshold_lies_between_scores():
    (own,) = RankedScores([[0.9], [0.8], [0.4], [0.1]], [[1], [1], [0], [0]]).best_own()
    assert own == pytest.approx(1 / (1 + np.sqrt((0.2 / 0.8) * (0.6 / 0.4))))  # half way in log-odds


def test_the_highest_of_equally_good_thresholds():
    # F1 2/3 with the first alone and 2/3 with the first four (2 of 2 found, 2 wrong).
    (own,) = RankedScores([[0.9], [0.7], [0.5], [0.3]], [[1], [0], [0], [1]]).best_own()
    assert 0.7 < own < 0.9


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.sampled_from([4, 20, 10**6]))
def test_class_thresholds_are_the_best_there_are(seed, pictures, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels + 1, (pictures, 1)) / levels  # 0 and 1 occur
    targets = rng.random((pictures, 1)) < 0.4
    targets[0] = True
    ranked = RankedScores(scores, targets)
    own = ranked.best_own()
    best = max(ranked.counts(threshold).f1[0] for threshold in scores[:, 0])
    assert ranked.counts(own).f1[0] == pytest.approx(best)
    assert 0 <= own[0] <= 1


def test_best_common_threshold_by_hand():
    scores = np.array([[0.9, 0.6], [0.8, 0.2], [0.3, 0.7]])
    truth = np.array([[1, 0], [0, 0], [0, 1]], dtype=bool)
    # From 0.7 on: 0.9 and 0.7 right, 0.8 wrong, none missed: 2 * 2 / (3 + 2).
    assert best_common_threshold(scores, truth) == (0.7, pytest.approx(0.8))
