"""All figures of a benchmark: against scikit-learn, the reference's own, and figures worked by hand; and how fast."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from anytag.errors import UsageError
from anytag.evaluation.figures import (
    TUNED_ON_TEST,
    Thresholds,
    calibration_error,
    fit_thresholds,
    tagging_figures,
)
from anytag.evaluation.ranking import RankedScores, standardized


def draw(pictures: int, classes: int, seed: int = 0, ties: bool = False):
    rng = np.random.default_rng(seed)
    truth = rng.random((pictures, classes)) < 0.2
    truth[0] = True
    scores = np.clip(rng.normal(0.35, 0.2, truth.shape) + 0.3 * truth, 0, 1)
    return (np.round(scores, 1) if ties else scores).astype(np.float32), truth


NAMES = tuple("abcdefg")


class TestAgainstScikitLearn:
    @pytest.mark.parametrize("ties", [False, True])
    def test_mean_average_precision(self, ties):
        scores, truth = draw(300, 7, ties=ties)
        figures, rows = tagging_figures(scores, truth, NAMES)
        expected = [metrics.average_precision_score(truth[:, c], scores[:, c]) for c in range(7)]
        assert [row.average_precision for row in rows] == pytest.approx(expected, abs=1e-6)
        assert figures.map_distinct == pytest.approx(metrics.average_precision_score(truth, scores), abs=1e-6)

    def test_sets_at_one_threshold(self):
        scores, truth = draw(300, 7)
        figures, rows = tagging_figures(scores, truth, NAMES, thresholds=Thresholds(0.5, "given"))
        found = scores >= 0.5
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, found, average=None, zero_division=0)
        assert figures.found.precision == pytest.approx(precision.mean())
        assert figures.found.recall == pytest.approx(recall.mean())
        assert figures.found.mean_f1 == pytest.approx(f1.mean())
        # The papers' F1 is the harmonic mean of the two means, not the mean of F1.
        assert figures.found.f1 == pytest.approx(2 * precision.mean() * recall.mean() / (precision + recall).mean())
        micro = metrics.precision_recall_fscore_support(truth, found, average="micro")[:3]
        assert (figures.found.micro_precision, figures.found.micro_recall, figures.found.micro_f1) == pytest.approx(
            micro
        )
        assert [row.f1 for row in rows] == pytest.approx(f1)

    def test_sets_at_one_threshold_per_class(self):
        scores, truth = draw(300, 7)
        limits = np.linspace(0.3, 0.7, 7)
        figures, _ = tagging_figures(scores, truth, NAMES, thresholds=Thresholds(limits, "model"))
        expected = metrics.precision_recall_fscore_support(truth, scores >= limits, average="macro")[:2]
        assert (figures.found.precision, figures.found.recall) == pytest.approx(expected)
        assert figures.threshold is None


class TestReference:
    def test_mean_average_precision_equals_the_official_code(self, oracle):
        cases = json.loads((oracle / "vectors" / "metrics.json").read_text(encoding="utf-8"))["cases"]
        assert cases
        for case in cases:
            names = [name.strip() for name in case["taglist"]]
            tags = [{part.strip() for part in line.split(",")[1:]} for line in case["gt_file"].splitlines()]
            truth = np.array([[name in row for name in names] for row in tags])
            figures, _ = tagging_figures(np.array(case["preds"], np.float64), truth, names)
            assert figures.map_papers == pytest.approx(case["get_mAP"]["result"][0], rel=1e-7)


class TestByHand:
    # Class a: ranks of its positives 1 and 3, so (1/1 + 2/3) / 2; class b: rank 2, so 1/2.
    SCORES = np.array([[0.9, 0.8], [0.7, 0.6], [0.4, 0.1], [0.2, 0.3]])
    TRUTH = np.array([[1, 0], [0, 1], [1, 0], [0, 0]])

    def test_average_precision(self):
        figures, rows = tagging_figures(self.SCORES, self.TRUTH, ["a", "b"])
        assert [row.average_precision for row in rows] == pytest.approx([5 / 6, 1 / 2])
        assert figures.map_papers == pytest.approx(2 / 3)

    def test_a_repeated_class_counts_twice_in_the_mean_and_once_in_sets(self):
        scores, truth = self.SCORES[:, [0, 1, 0]], self.TRUTH[:, [0, 1, 0]]
        figures, rows = tagging_figures(scores, truth, ["a", "b", "a"], thresholds=Thresholds(0.5, "given"))
        assert figures.map_papers == pytest.approx((5 / 6 + 1 / 2 + 5 / 6) / 3)
        assert figures.map_distinct == pytest.approx((5 / 6 + 1 / 2) / 2)
        assert [row.name for row in rows] == ["a", "b"]
        assert figures.found.precision == pytest.approx((1 / 2 + 1 / 2) / 2)
        assert figures.found.recall == pytest.approx((1 / 2 + 1) / 2)

    def test_the_higher_score_of_a_duplicate_counts(self):
        scores = np.array([[0.2, 0.9], [0.4, 0.1]])
        truth = np.array([[1, 1], [0, 0]])
        figures, rows = tagging_figures(scores, truth, ["a", "a"])
        assert figures.map_papers == pytest.approx((1 / 2 + 1) / 2)
        assert rows[0].average_precision == 1.0

    def test_a_class_without_positives_counts_as_zero_only_in_the_papers_figure(self):
        truth = self.TRUTH.copy()
        truth[:, 1] = 0
        figures, rows = tagging_figures(self.SCORES, truth, ["a", "b"])
        assert figures.map_papers == pytest.approx(5 / 12)
        assert figures.map_distinct == pytest.approx(5 / 6)
        assert np.isnan(rows[1].average_precision)

    def test_best_common_threshold(self):
        # From 0.4 on: a finds 3, 2 right; b finds 2, 1 right. Precision (2/3 + 1/2) / 2, recall 1.
        threshold, f1 = RankedScores(self.SCORES, self.TRUTH).best_common()
        precision = (2 / 3 + 1 / 2) / 2
        assert threshold == 0.4
        assert f1 == pytest.approx(2 * precision / (precision + 1))

    def test_the_best_common_threshold_may_let_nearly_everything_pass(self):
        # The only positive is the lowest of 40 scores: 1 of 40 right is better than none of 10.
        scores, truth = np.linspace(1, 0.1, 40)[:, None], np.zeros((40, 1), bool)
        truth[-1] = True
        threshold, f1 = RankedScores(scores, truth).best_common()
        assert threshold == pytest.approx(0.1)
        assert f1 == pytest.approx(2 / 41)

    def test_nothing_is_tuned_for_captions(self):
        said = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
        truth = np.array([[True, False], [True, False], [False, True]])
        figures, _ = tagging_figures(said, truth, ["a", "b"], thresholds=Thresholds(0.5, "captions"))
        assert (figures.found.precision, figures.found.recall) == (0.5, 0.25)
        assert (figures.best, figures.best_threshold, figures.own, figures.calibration_error) == (None,) * 4
        assert "note" not in str(figures.to_json())

    def test_calibration_error(self):
        # Bins (0, 0.5) and (0.5, 1): |0.25 - 0.5| for two pairs, |0.75 - 1| for two.
        assert calibration_error([[0.25, 0.25], [0.75, 0.75]], [[1, 0], [1, 1]], bins=2) == pytest.approx(0.25)

    def test_standardizing_corrects_a_prompt_that_fits_all_pictures(self):
        # The second prompt is liked by all; what is left is which picture likes it more than the others do.
        scores = np.array([[0.30, 0.50], [0.10, 0.52], [0.10, 0.51]])
        better = standardized(scores)
        assert scores.argmax(1).tolist() == [1, 1, 1]
        assert better.argmax(1).tolist() == [0, 1, 1]
        np.testing.assert_allclose(better.mean(1), 0, atol=1e-6)
        np.testing.assert_allclose(better.std(1), 1, atol=1e-5)

    def test_unchecked_pairs_are_left_out(self):
        # Without picture 1, which nobody judged for a, its positives have ranks 1 and 2.
        known = np.ones_like(self.TRUTH)
        known[1, 0] = 0
        figures, rows = tagging_figures(
            self.SCORES, self.TRUTH, ["a", "b"], known=known, thresholds=Thresholds(0, "given")
        )
        assert rows[0].average_precision == 1.0
        assert rows[0].precision == pytest.approx(2 / 3)
        assert figures.calibration_error is not None

    def test_kinds(self):
        figures, _ = tagging_figures(
            self.SCORES,
            self.TRUTH,
            ["a", "b"],
            thresholds=Thresholds(0.65, "given"),
            kinds={"a": "object", "b": "scene"},
        )
        assert figures.kinds["object"]["map"] == pytest.approx(5 / 6)
        assert (figures.kinds["object"]["covered"], figures.kinds["scene"]["covered"]) == (1.0, 0.0)


class TestThresholds:
    def test_figures_tuned_on_the_test_set_are_labeled(self):
        scores, truth = draw(100, 7)
        record = tagging_figures(scores, truth, NAMES)[0].to_json()
        assert record["best"]["note"] == record["own"]["note"] == TUNED_ON_TEST
        assert record["found"] is None
        assert TUNED_ON_TEST in fit_thresholds(scores, truth, "test").label
        assert "validation" in fit_thresholds(scores, truth, "validation").label

    def test_own_thresholds_are_no_worse_than_the_common_one(self):
        scores, truth = draw(200, 7)
        figures, _ = tagging_figures(scores, truth, NAMES)
        assert figures.own.mean_f1 >= figures.best.mean_f1

    def test_a_class_without_positives_takes_the_common_threshold(self):
        scores, truth = draw(100, 7)
        truth[:, 3] = False
        fitted = fit_thresholds(scores, truth, "validation", per_class=True)
        assert fitted.values[3] == fit_thresholds(scores, truth, "validation").values

    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 10_000))
    def test_own_thresholds_reach_the_best_f1_there_is(self, seed):
        scores, truth = draw(25, 3, seed, ties=seed % 2 == 0)
        ranked = RankedScores(scores, truth)
        reached = ranked.counts(ranked.best_own()).f1
        for column in range(3):
            found = scores[:, column] >= np.unique(scores[:, column])[:, None]
            wanted = truth[:, column]
            assert reached[column] == pytest.approx((2 * (found & wanted).sum(1) / (found.sum(1) + wanted.sum())).max())


class TestBadInput:
    def test_more_scores_than_pictures(self):
        with pytest.raises(UsageError, match=r"^there are scores of 3 pictures but annotations of 2; both must be"):
            RankedScores(np.zeros((3, 1)), np.ones((2, 1)))

    def test_other_classes(self):
        with pytest.raises(UsageError, match=r"^there are scores of 1 class but annotations of 2$"):
            RankedScores(np.zeros((2, 1)), np.ones((2, 2)))

    def test_a_score_that_is_not_a_number(self):
        scores = np.zeros((2, 3))
        scores[1, 2] = np.nan
        with pytest.raises(UsageError, match=r"^the score of picture 1 for class 2 is not a number"):
            RankedScores(scores, np.ones((2, 3)))

    def test_no_positives(self):
        with pytest.raises(UsageError, match=r"^no class has a positive, so there is nothing to measure"):
            tagging_figures(np.zeros((2, 1)), np.zeros((2, 1)), ["a"])

    def test_probabilities_for_calibration(self):
        with pytest.raises(UsageError, match=r"^a calibration error needs probabilities from 0 to 1"):
            calibration_error([[2.0]], [[1]])


def test_all_figures_of_openimages_common_are_quick():
    # 57,224 pictures by 214 classes: 0.6 s and 2.5 s on a quiet core, where sorting the scores takes 0.4 s. Times are
    # compared with that, since a busy machine makes all of them longer.
    rng = np.random.default_rng(0)
    truth = rng.random((57_224, 214)) < 0.0055
    scores = rng.random(truth.shape, np.float32) * 0.7 + 0.3 * truth.astype(np.float32)

    def seconds(run):
        start = time.process_time()
        run()
        return time.process_time() - start

    sorting = min(seconds(lambda: np.argsort(np.ascontiguousarray(scores.T), axis=1)) for _ in range(2))
    names = [str(c) for c in range(214)]
    assert seconds(lambda: RankedScores(scores, truth).average_precisions()) < 5 * sorting  # 2 s
    whole = seconds(lambda: tagging_figures(scores, truth, names, thresholds=Thresholds(0.5, "given")))
    assert whole < 25 * sorting  # 10 s
