"""The space of pictures and sentences, with numbers that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_toy import toy_recognizer, with_joint_embedding

from anytag.backends.base import Encoded
from anytag.errors import ModelError, UsageError
from anytag.inference.joint_embedding import JointEmbedding
from anytag.model.config import JointEmbeddingConfig

#: Two numbers a picture and two classes; texts are two numbers.
ARRAYS = {
    "picture_weight": np.array([[1, 0, 0, 0], [0, 2, 0, 1]], np.int8),
    "picture_scale": np.array([3, 0.5], np.float32),
    "picture_bias": np.array([0, 2], np.float32),
    "text_weight": np.array([[0, 1], [1, 0]], np.int8),
    "text_scale": np.array([1, 1], np.float32),
    "text_bias": np.array([0, 0], np.float32),
}


def test_both_sides_become_vectors_of_length_one():
    joint = JointEmbedding(JointEmbeddingConfig(least=-2), ARRAYS, (4, 2))
    encoded = Encoded(np.array([[[1, 3], [9, 9]]], np.float32), np.array([[1, 0]], np.float32))
    # 3 · 1 = 3; 0.5 · (2 · 3 + 1 · log of 0, raised to -2) + 2 = 4: a triangle of 3, 4 and 5.
    np.testing.assert_allclose(joint.pictures(encoded), [[0.6, 0.8]], atol=1e-6)
    np.testing.assert_allclose(joint.texts(np.array([[8, 6]], np.float32)), [[0.6, 0.8]], atol=1e-6)
    assert joint.width == 2


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match=r"text_weight has the shape \(2, 2\), where \(2, 3\) is expected"):
        JointEmbedding(JointEmbeddingConfig(), ARRAYS, (4, 3))
    short = {name: array for name, array in ARRAYS.items() if name != "picture_scale"}
    with pytest.raises(ModelError, match=r"picture_scale is missing, where .* copy the model again"):
        JointEmbedding(JointEmbeddingConfig(), short, (4, 2))


def test_embed_text(tmp_path):
    recognizer = with_joint_embedding(toy_recognizer(tmp_path / "model"))
    vector, tags, weight = recognizer.questions.embed_text("hounds on a beach")
    np.testing.assert_allclose(vector, [0, 1, 0])
    assert ([tag.name for tag in tags], weight) == (["dog", "beach"], 0.5)
    with pytest.raises(UsageError, match="text must not be empty; give a sentence or a phrase"):
        recognizer.questions.embed_text(" ")


def test_a_model_without_it_raises(tmp_path):
    recognizer = toy_recognizer(tmp_path / "model")
    assert recognizer.questions.joint_embedding is None
    with pytest.raises(ModelError, match="cannot find pictures by a sentence, because it has no joint embedding"):
        recognizer.questions.embed_text("a dog")
