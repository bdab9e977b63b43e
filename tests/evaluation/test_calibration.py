"""Scores that mean the same for every tag: shifts, slope, the classifier's weight."""

from __future__ import annotations

import numpy as np
import pytest

from anytag.evaluation.calibration import expected_prevalence, fit_class_weight, fit_slope, shifts_by_prevalence


def sigmoid(odds):
    return 1 / (1 + np.exp(-odds))


class TestShifts:
    def test_a_common_tag_exceeds_its_shift_as_often_as_it_is_true(self):
        logits = np.linspace(-5, 5, 1001)[:, None]
        shift = shifts_by_prevalence(logits, np.array([0.3]))
        assert (logits > shift).mean() == pytest.approx(0.3, abs=0.002)

    def test_beyond_the_data_excesses_fall_off_exponentially(self):
        # An exponential tail with mean 1: e times as rare is one further.
        logits = np.random.default_rng(0).exponential(1.0, (200_000, 1)).repeat(2, 1)
        shifts = shifts_by_prevalence(logits, np.array([0.05 / np.e, 0.05 / np.e**3]))
        assert shifts == pytest.approx(-np.log(0.05) + np.array([1, 3]), abs=0.1)


class TestPrevalence:
    truth = np.array([[1, 0, 0]] * 30 + [[0, 0, 0]] * 70, dtype=bool)

    def test_training_and_validation_pictures_have_a_say(self):
        found = expected_prevalence(self.truth, np.array([100.0, 500.0, 0.0]), 1000)
        assert found == pytest.approx([0.2, 0.25, 0.00025], rel=0.01)

    def test_a_model_that_does_not_say_what_it_saw(self):
        """A published model: a tag that nobody named was taken to be true of every eighth picture."""
        found = expected_prevalence(self.truth, np.zeros(3), 0)
        assert found == pytest.approx([0.302, 0.005, 0.005], rel=0.01)


def test_the_slope_of_drawn_truth_is_recovered():
    random = np.random.default_rng(1)
    margins = random.normal(0, 2, 50_000)
    slope, intercept = fit_slope(margins, random.random(50_000) < sigmoid(0.7 * margins - 0.4))
    assert (slope, intercept) == pytest.approx((0.7, -0.4), abs=0.03)


class TestClassWeight:
    def drawn(self, weight):
        """Logits of three tags and evidence for two of them, and truth that follows both."""
        random = np.random.default_rng(2)
        logits, evidence = random.normal(-2, 1.5, (20_000, 3)), random.normal(0, 3, (20_000, 3))
        evidence[:, 2] = 0
        truth = random.random(logits.shape) < sigmoid(logits + weight * evidence)
        return logits, evidence, truth, truth.mean(0)

    @pytest.mark.parametrize("weight", [0.0, 0.2, 0.5])
    def test_the_weight_that_truth_was_drawn_with_is_chosen(self, weight):
        assert fit_class_weight(*self.drawn(weight)) == weight

    def test_without_evidence_it_is_nothing(self):
        logits, evidence, truth, prevalence = self.drawn(0.5)
        assert fit_class_weight(logits, 0 * evidence, truth, prevalence) == 0
