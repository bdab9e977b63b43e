"""Recall at k, tags and re-ranking against hand-worked tables and the plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.errors import UsageError
from anytag.evaluation.retrieval import (
    RetrievalScores,
    recall_at_k,
    reranked,
    retrieval_ranks,
    similarity_scores,
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


def test_a_model_that_cannot_tell_gains_nothing():
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
def test_what_does_not_fit_is_refused(scores, owner, ks, message):
    with pytest.raises(UsageError, match=message):
        recall_at_k(scores, owner, ks)


class TestSimilarity:
    PICTURES = np.array([[1.0, 0.0], [0.6, 0.8]])
    TEXTS = np.array([[0.0, 1.0], [0.8, 0.6], [1.0, 0.0]])
    #: Tags dog, cat, red: what is found in the pictures, and what the texts name.
    FOUND = np.array([[1, 0, 1], [1, 1, 0]])
    NAMED = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 0]])

    def test_without_tags_it_is_the_cosine(self):
        expected = [[0.0, 0.8, 1.0], [0.8, 0.96, 0.6]]
        np.testing.assert_allclose(similarity_scores(self.PICTURES, self.TEXTS), expected)
        np.testing.assert_allclose(similarity_scores(self.PICTURES, self.TEXTS, self.FOUND, self.NAMED), expected)

    def test_a_shared_tag_counts_its_weight(self):
        scores = similarity_scores(self.PICTURES, self.TEXTS, self.FOUND, self.NAMED, tag_weight=0.1)
        # Shared: picture 0 has 2 tags with text 0 and 1 with text 1; picture 1 has "dog" with text 0.
        np.testing.assert_allclose(scores, [[0.2, 0.9, 1.0], [0.9, 0.96, 0.6]])
        whole = similarity_scores(np.eye(2, dtype=int), np.eye(2, dtype=int), np.eye(2), np.eye(2), tag_weight=0.5)
        assert whole.tolist() == [[1.5, 0.0], [0.0, 1.5]]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((np.zeros((2, 3)), np.zeros((2, 4))), r"pictures \(2, 3\) and texts \(2, 4\) must be"),
            ((np.zeros((2, 3)), np.zeros((4, 3)), None, None, 0.1), "a tag_weight of 0.1 needs the tags"),
            (
                (np.zeros((2, 3)), np.zeros((4, 3)), np.zeros((3, 5)), np.zeros((4, 5)), 0.1),
                r"found \(3, 5\) and named",
            ),
            (
                (np.zeros((2, 3)), np.zeros((4, 3)), np.zeros((2, 6)), np.zeros((4, 5)), 0.1),
                r"found \(2, 6\) and named",
            ),
            ((np.zeros((2, 3)), np.zeros((4, 3)), np.zeros((2, 5)), np.zeros((3, 5)), 0.1), r"and named \(3, 5\)"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, arguments, message):
        with pytest.raises(UsageError, match=message):
            similarity_scores(*arguments)


class TestReranking:
    def test_by_hand(self):
        similarity = np.array([[0.9, 0.8, 0.1], [0.2, 0.3, 0.7]])
        verdicts = np.array([[-1.0, 2.0, 5.0], [0.0, 1.0, -4.0]])
        scores = reranked(similarity, lambda pictures, texts: verdicts[pictures, texts], k=2)
        # Picture 0 judges texts 0 and 1: -0.1 and 2.8; text 2, never judged, stays behind: 1 and 0.7 below text 0.
        # Picture 1 judges texts 2 and 1: -3.3 and 1.3; text 0 is 0.1 less similar than text 1 and goes behind.
        np.testing.assert_allclose(scores.texts, [[-0.1, 2.8, -1.8], [-4.4, 1.3, -3.3]])
        # There are but two pictures, so every text judges both.
        np.testing.assert_allclose(scores.pictures, similarity + verdicts)
        texts, pictures = retrieval_ranks(scores, [0, 1, 1])
        assert texts.tolist() == [1, 0]
        assert pictures.tolist() == [1, 1, 1]

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 7), st.integers(1, 8))
    def test_the_best_few_are_judged_and_nothing_else_passes_them(self, seed, pictures, texts, k):
        rng = np.random.default_rng(seed)
        similarity = rng.uniform(-1, 1, (pictures, texts))
        verdicts = rng.normal(0, 3, similarity.shape)
        judged = []

        def judge(p, t):
            judged.append(len(p))
            return verdicts[p, t]

        scores = reranked(similarity, judge, k)
        assert judged == [min(k, texts)] * pictures + [min(k, pictures)] * texts
        queries = [(scores.texts[p], similarity[p], verdicts[p]) for p in range(pictures)]
        queries += [(scores.pictures[:, t], similarity[:, t], verdicts[:, t]) for t in range(texts)]
        for got, similar, verdict in queries:
            order = np.argsort(-similar)
            best, rest = order[:k], order[k:]
            np.testing.assert_allclose(got[best], similar[best] + verdict[best])
            assert (np.diff(got[rest]) <= 0).all()
            assert not len(rest) or got[rest].max() < got[best].min()

    def test_a_perfect_judge_finds_what_is_among_the_best(self):
        rng = np.random.default_rng(0)
        owner = np.repeat(np.arange(12), 2)
        similarity = rng.uniform(-1, 1, (12, 24)).astype(np.float32)
        similarity[owner, np.arange(24)] += 1
        recall = recall_at_k(reranked(similarity, lambda p, t: 10.0 * (owner[t] == p), k=5), owner)
        plain = recall_at_k(similarity, owner)
        assert recall.text[1] >= plain.text[5]
        assert recall.picture[1] == plain.picture[5] > plain.picture[1]

    def test_in_half_precision_nothing_is_lost(self):
        scores = reranked(np.array([[0.5, 0.25]], np.float16), lambda p, t: np.full(len(p), 1e-4), k=2)
        np.testing.assert_allclose(scores.texts, [[0.5001, 0.2501]], rtol=1e-6)

    @pytest.mark.parametrize(
        ("scores", "judge", "k", "message"),
        [
            (np.zeros(3), lambda p, t: p, 1, "must be a table"),
            (np.full((1, 1), np.nan), lambda p, t: p, 1, "must be a table"),
            (np.zeros((1, 1)), lambda p, t: p, 0, "k must be at least 1, not 0"),
            (np.zeros((1, 2)), lambda p, t: [1.0], 2, r"the judge gave \(1,\) for 2 pairs"),
            (np.zeros((1, 2)), lambda p, t: [1.0, np.nan], 2, "a number for each"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, scores, judge, k, message):
        with pytest.raises(UsageError, match=message):
            reranked(scores, judge, k)

    def test_two_tables_must_be_alike_and_hold_numbers(self):
        with pytest.raises(UsageError, match="must be"):
            retrieval_ranks(RetrievalScores(np.zeros((2, 2)), np.zeros((2, 3))), [0, 1])
        with pytest.raises(UsageError, match="not a number"):
            retrieval_ranks(RetrievalScores(np.zeros((2, 2)), np.full((2, 2), np.nan)), [0, 1])
