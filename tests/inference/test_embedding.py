"""Vectors of pictures: the strongest tokens, by hand."""

from __future__ import annotations

import numpy as np

from anytag.backends.base import Encoded
from anytag.inference.embedding import picture_inputs, strongest_tokens, taught_inputs


def encoded(tokens):
    """One picture with two features and two classes."""
    return Encoded(np.array([tokens], np.float32), np.array([[0.75, 0.25]], np.float32))


def test_the_strongest_tokens_are_those_of_each_feature():
    """Without the first token, which stands for the whole picture, and for each feature other ones."""
    tokens = [(100, 100), *((float(number), -float(number)) for number in range(1, 15))]
    # 14 to 5 of the first feature; -1 to -10 of the second.
    assert strongest_tokens(encoded(tokens)).tolist() == [[9.5, -5.5]]
    assert strongest_tokens(encoded(tokens), count=2).tolist() == [[13.5, -1.5]]


def test_pictures_of_few_tokens():
    assert strongest_tokens(encoded([(9, 9), (1, 2), (3, 6)])).tolist() == [[2, 4]]
    assert strongest_tokens(encoded([(9, 8)])).tolist() == [[9, 8]]


def test_a_picture_counts_alike_alone_and_among_others():
    draw = np.random.default_rng(0)
    features, classes = draw.normal(size=(4, 82, 16)).astype(np.float32), np.full((4, 3), 1 / 3, np.float32)
    together = taught_inputs(Encoded(features, classes))
    alone = [taught_inputs(Encoded(features[[row]], classes[[row]])) for row in range(4)]
    assert np.array_equal(together, np.concatenate(alone))


def test_inputs_of_taught_tags_begin_with_the_others():
    one = encoded([(1, 2), (3, 4)])
    assert np.array_equal(taught_inputs(one)[:, :4], picture_inputs(one))
    assert taught_inputs(one)[:, 4:].tolist() == [[3, 4]]
