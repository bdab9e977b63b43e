"""Recall at k, tags and re-ranking against hand-worked tables and the plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.errors import UsageError
from anytag.evaluation.retrieval import (
    recall_at_k,
    retrieval_ranks,
)


def test_by_hand():
    owner = [0, 0, 1, 2]
    scores = [
        [0.1, 0.9, 0.8, 0.0],  # its second text is best: rank 0
        [0.7, 0.6, 0.5, 0.4],  # two wrong ones before text 2: rank 2
        [0.3, 0.2, 0.6, 0.5],  # one before text 3: rank 1
    ]
    texts, pictures = retrieval_ranks(scores, owner)
    assert texts.tolist() == [0, 2, 1]
    assert pictures.tolist() == [2, 0, 2, 0]
    recall = recall_at_k(scores, owner, ks=(1, 2, 3))
    assert recall.text == pytest.approx({1: 1 / 3, 2: 2 / 3, 3: 1.0})
    assert recall.picture == pytest.approx({1: 0.5, 2: 0.5, 3: 1.0})


def test_equal_scores_gain_nothing():
    recall = recall_at_k(np.zeros((20, 20)), np.arange(20))
    assert set(recall.text.values()) | set(recall.picture.values()) == {0.0}
    perfect = recall_at_k(np.eye(20), np.arange(20), ks=(1,))
    assert perfect.text == perfect.picture == {1: 1.0}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 6))
def test_equals_the_definition(seed, pictures, extra):
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.concatenate([np.arange(pictures), rng.integers(0, pictures, extra)]))
    scores = rng.integers(0, 5, (pictures, len(owner)))  # with equal scores
    texts, of = retrieval_ranks(scores, owner)
    for p in range(pictures):
        right = [scores[p, t] for t in range(len(owner)) if owner[t] == p]
        assert texts[p] == sum(scores[p, t] >= max(right) for t in range(len(owner)) if owner[t] != p)
    for t, p in enumerate(owner):
        assert of[t] == sum(scores[other, t] >= scores[p, t] for other in range(pictures) if other != p)


@pytest.mark.parametrize(
    ("scores", "owner", "ks", "message"),
    [
        (np.zeros((2, 2)), [0], (1,), "must be"),
        (np.zeros(2), [0, 1], (1,), "must be"),
        (np.zeros((2, 2)), [0, 0], (1,), "picture 1 has no text"),
        (np.zeros((2, 2)), [0, 2], (1,), "0 to 1"),
        (np.full((2, 2), np.nan), [0, 1], (1,), "not a number"),
        (np.zeros((2, 2)), [0, 1], (0, 1), "at least 1"),
    ],
)
def test_mismatched_arguments_are_rejected(scores, owner, ks, message):
    with pytest.raises(UsageError, match=message):
        recall_at_k(scores, owner, ks)
