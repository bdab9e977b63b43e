"""A tag told apart by a line: against a worked example, and by what it must keep."""

from __future__ import annotations

import numpy as np
import pytest

from anytag.teaching.classifier import _fit, fit_classifier


def drawn(positives=20, others=10, negatives=600, apart=4.0, width=6, views=2, seed=0):
    """Normal points; those of the tag lie ``apart`` from the others along the first axis."""
    draw = np.random.default_rng(seed)
    own = draw.normal(size=(positives + others, views, width))
    own[:positives, :, 0] += apart
    return own, np.arange(positives + others) < positives, draw.normal(size=(negatives, width))


def test_the_line_is_where_the_gradient_vanishes():
    """The sum of (probability - truth) · x, plus penalty · weights, is 0, as for any penalized logistic regression."""
    own, truth, negatives = drawn(views=1)
    weights, bias = _fit(own, truth, negatives, 3.0)
    points = np.concatenate([own[:, 0], negatives])
    wrong = 1 / (1 + np.exp(-(points @ weights + bias))) - np.r_[truth, np.zeros(len(negatives))]
    np.testing.assert_allclose(points.T @ wrong + 3.0 * weights, 0, atol=1e-4)
    assert wrong.sum() == pytest.approx(0, abs=1e-4)


def test_views_of_a_picture_count_as_one():
    own, truth, negatives = drawn(views=1)
    once, thrice = (_fit(np.repeat(own, count, axis=1), truth, negatives, 3.0) for count in (1, 3))
    np.testing.assert_allclose(once[0], thrice[0], atol=1e-6)
    assert once[1] == pytest.approx(thrice[1], abs=1e-6)


def test_new_pictures_are_found_and_new_negatives_are_not():
    own, truth, negatives = drawn()
    line = fit_classifier(own, truth, negatives)
    new, _, others = drawn(positives=300, others=0, negatives=3000, seed=1)
    assert (new[:, 0] @ line.weights + line.bias >= 0).mean() > 0.8
    assert (others @ line.weights + line.bias >= 0).mean() < 0.01
    assert line.pictures == 20
    assert line.found > 0.8
    assert line.false_positives <= 0.003 + 1 / 600


def test_what_is_found_is_counted_on_pictures_left_out():
    """A tag given by lot is found by its own fit, as wide as that is, and not by one without the picture."""
    draw = np.random.default_rng(0)
    own, negatives = draw.normal(size=(12, 1, 200)), draw.normal(size=(300, 200))
    line = fit_classifier(own, np.arange(12) < 6, negatives, penalty=1e-3)
    assert line.found < 0.5


def test_a_single_picture_is_enough_to_find_itself():
    own, truth, negatives = drawn(positives=1, others=0, views=4, apart=8.0)
    line = fit_classifier(own, truth, negatives)
    assert own[0, 0] @ line.weights + line.bias > 0
    assert np.isnan(line.found)


def test_other_tags_keep_their_pictures_to_themselves():
    """Two groups of one's own, as far from the negatives as from each other."""
    draw = np.random.default_rng(0)
    own = draw.normal(size=(40, 1, 6))
    own[:20, 0, 0] += 5
    own[20:, 0, 1] += 5
    line = fit_classifier(own, np.arange(40) < 20, draw.normal(size=(400, 6)))
    other = draw.normal(size=(500, 6))
    other[:, 1] += 5
    assert (other @ line.weights + line.bias >= 0).mean() < 0.03


def test_without_negatives_the_own_pictures_decide():
    own, truth, _ = drawn()
    line = fit_classifier(own, truth, np.empty((0, 6)))
    assert line.found > 0.8
    assert np.isnan(line.false_positives)


def test_the_same_seed_gives_the_same_line():
    lines = [fit_classifier(*drawn()) for _ in range(2)]
    assert np.array_equal(lines[0].weights, lines[1].weights)
    assert lines[0].bias == lines[1].bias
