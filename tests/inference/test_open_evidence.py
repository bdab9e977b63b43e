"""Texts outside the vocabulary: hand-worked similarities and log-odds, and their independence of the other labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_evidence import CLASSES, CONFIG, TAGS, VOCABULARY, arrays, encoded

from anytag.inference.evidence import TagEvidence, apply_temperature
from anytag.inference.label_set import ClassSums
from anytag.inference.open_evidence import OPEN_PREDICTORS, ClassSimilarity, OpenEvidence, floored_log
from anytag.model.config import EvidenceConfig

#: Around a mean of (1, 1), the classes point right, left, up and down.
NAMES = np.array([[2, 1], [0, 1], [1, 2], [1, 0]], np.float32)


def test_a_text_is_similar_to_classes_of_similar_meaning() -> None:
    similarity = ClassSimilarity(NAMES, sharpness=2.0)
    found = similarity(np.array([[2, 1], [5, 5]], np.float32))
    assert found.shape == (4, 2)
    assert found[:, 0] == pytest.approx(np.exp([0, -4, -2, -2]))
    # Halfway between the first and the third class: cosines of half the root of 2.
    near, far = np.exp(2 * (0.5**0.5 - 1)), np.exp(2 * (-(0.5**0.5) - 1))
    assert found[:, 1] == pytest.approx([near, far, near, far])


def test_a_text_at_the_mean_of_all_classes_is_equally_similar_to_all() -> None:
    assert ClassSimilarity(NAMES, 3.0)(np.ones((1, 2), np.float32))[:, 0] == pytest.approx([np.exp(-3)] * 4)


def test_weights_of_texts_by_hand() -> None:
    weights = np.array([2, 0.5, -1, -0.25, 0.125], np.float32)
    assert len(weights) == len(OPEN_PREDICTORS)
    evidence = OpenEvidence(weights, bias=3.0, floor=0.1)
    classes = floored_log(np.array([[0.9, 0.0]], np.float32), evidence.floor)
    assert classes[0] == pytest.approx([0, np.log(0.1)], abs=1e-6)
    weights, offsets = evidence.without_decoder(classes, np.array([[0.8]], np.float32))
    assert weights[0] == pytest.approx([2 - 0.2] * 2)
    assert offsets[0] == pytest.approx([3 - 0.8, 3 - 0.8 + np.log(0.1) * (0.5 + 0.1)], abs=1e-5)


def test_without_arrays_only_the_decoder_counts() -> None:
    evidence = OpenEvidence.from_arrays({}, EvidenceConfig())
    assert (evidence.weights.tolist(), evidence.bias, evidence.similarity) == ([1, 0, 0, 0, 0], 0, None)


def names() -> dict[str, np.ndarray]:
    """Three classes that point in three directions, in 8 bits."""
    table = np.array([[10, 0, 0, 0], [0, 10, 0, 0], [0, 0, 10, 0]], np.int8)
    weights = np.array([1.0, 2.0, 0, 0, 0], np.float32)
    scale = np.full(CLASSES, 0.1, np.float32)
    return {"class_names": table, "class_names_scale": scale, "open_weights": weights, "open_bias": np.zeros(1)}


def test_classes_count_by_their_similarity_to_a_text() -> None:
    evidence = TagEvidence(CONFIG, arrays() | names(), VOCABULARY, CLASSES)
    assert evidence.open.similarity is not None
    like = evidence.open.similarity(np.eye(3, 4, dtype=np.float32)[:1])
    assert like[:, 0] == pytest.approx([1, np.exp(-15), np.exp(-15)], rel=1e-3), "cosines of -0.5 around the mean"
    seen = encoded(0.7, 0.2, 0.1)
    sums = ClassSums(like, np.ones(1, bool), np.ones(1, bool))
    [[found]] = evidence.without_decoder(seen, [None], sums)(np.array([[0.25]], np.float32))
    probability = (apply_temperature(seen.classes, CONFIG.temperature) @ like)[0, 0]
    assert found == pytest.approx(0.25 + 2 * np.log(probability + CONFIG.open_floor), abs=1e-5)


@given(st.integers(0, 50), st.permutations([None, 0, None, 3, 6]))
def test_a_text_s_log_odds_do_not_depend_on_other_labels(seed: int, ids: list[int | None]) -> None:
    evidence = TagEvidence(CONFIG, arrays(seed) | names(), VOCABULARY, CLASSES)
    rng = np.random.default_rng(seed)
    shares = rng.random((CLASSES, len(ids))).astype(np.float32)
    texts = np.array([id is None for id in ids])
    shares[:, ~texts] = 0
    logits = rng.normal(size=(1, len(ids))).astype(np.float32)
    seen = encoded(*rng.dirichlet([1, 1, 1]), seed=seed)
    together = evidence.without_decoder(seen, ids, ClassSums(shares, np.ones(len(ids), bool), texts))(logits)
    for place, id in enumerate(ids):
        one = slice(place, place + 1)
        sums = ClassSums(shares[:, one], np.ones(1, bool), texts[one])
        alone = evidence.without_decoder(seen, [id], sums)(logits[:, one])
        assert alone == pytest.approx(together[:, one], abs=1e-5)
    assert TAGS > 6
