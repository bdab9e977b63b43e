"""Label sets: sums of class probabilities, and the choice of tags by their scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures_toy import toy_recognizer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anytag.inference.label_set import ClassSums, LabelSet


@pytest.fixture
def labels(tmp_path) -> LabelSet:
    return toy_recognizer(tmp_path / "toy").labels.all()


def test_a_label_s_probability_is_the_sum_of_its_classes():
    # Class 0 is a collie, a dog; class 1 a poodle, a dog; class 2 a cat. Nothing is label 2.
    collie, dog, cat = 0, 1, 3
    classes = np.zeros((3, 4), np.float32)
    classes[0, [collie, dog]] = classes[1, dog] = classes[2, cat] = 1
    sums = ClassSums(classes, np.array([False, True, True, True]))
    assert sums.labels.tolist() == [dog, cat]
    assert sums(np.float32([[0.5, 0.25, 0.125], [0, 0, 1]])).tolist() == [[0.75, 0.125], [0, 1]]


@given(
    arrays.arrays(np.bool_, st.tuples(st.integers(0, 6), st.integers(0, 6))),
    st.data(),
)
def test_sums_are_those_of_the_matrix_product(true, data):
    chosen = data.draw(arrays.arrays(np.bool_, true.shape[1]))
    probabilities = np.random.default_rng(0).random((3, true.shape[0])).astype(np.float32)
    sums = ClassSums(true.astype(np.float32), chosen)
    assert sums.labels.tolist() == np.flatnonzero(true.any(0) & chosen).tolist()
    if len(sums.labels):
        assert sums(probabilities) == pytest.approx(probabilities @ true[:, sums.labels].astype(np.float32), abs=1e-6)


def test_select_returns_labels_above_their_thresholds_best_first(labels):
    count = len(labels.names)
    labels = replace(labels, thresholds=np.full(count, 0.5))
    scores = np.zeros(count, np.float32)
    scores[[0, 2, 3]] = 0.5, 0.75, 0.5
    found = labels.select(scores)
    assert [tag.name for tag in found] == [labels.names[i] for i in (2, 0, 3)]  # Of equals the first comes first.
    assert [tag.score for tag in found] == [0.75, 0.5, 0.5]
    assert [tag.name for tag in labels.select(scores, top=2)] == [labels.names[i] for i in (2, 0)]
    assert [tag.name for tag in labels.select(scores, threshold=0.6)] == [labels.names[2]]
    assert len(labels.select(scores, threshold=0.0)) == count
