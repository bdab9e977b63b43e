"""The bank of negatives: what is kept of pictures, and the file that ships."""

from __future__ import annotations

import numpy as np
import pytest

from anytag.errors import ModelError
from anytag.model.directory import find_model
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.teaching.negatives import STEP, Negatives, make_negatives, shipped_negatives

TAGS = TagVocabulary(
    [VocabularyTag(0, "dog", "object", aliases=("Hound",), implies=(1,)), VocabularyTag(1, "animal", "object")]
)


def made(count=50, width=8, features=3, directions=4):
    inputs = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    return inputs, make_negatives(inputs, [(0, 1)] + [()] * (count - 1), TAGS, features, "abc", directions)


def test_coordinates_are_those_of_the_pictures():
    inputs, bank = made()
    np.testing.assert_allclose(bank.project(inputs), bank.points, atol=1e-5)
    # Independent of each other, in the order of how much pictures differ along them.
    covariance = bank.points.T @ bank.points / len(bank.points)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-3)
    assert (np.diff(np.diag(covariance)) < 0).all()


def test_a_file_gives_back_what_was_written(tmp_path):
    inputs, bank = made()
    bank.save(tmp_path / "bank.npz")
    read = Negatives.read((tmp_path / "bank.npz").read_bytes())
    assert np.abs(read.points - bank.points).max() <= STEP / 2 + 1e-6
    np.testing.assert_allclose(read.project(inputs), bank.points, atol=0.1)
    assert (read.names, read.encoder) == (("dog", "animal"), "abc")
    assert [places.tolist() for places in read.shown] == [[0, 1]] + [[]] * 49


def test_pictures_that_show_a_tag_are_known_by_name_and_alias():
    _, bank = made()
    assert bank.showing(TAGS[0]).tolist() == [True] + [False] * 49
    assert bank.showing(VocabularyTag(7, "canine", "object", aliases=("Dog",)))[0]
    assert not bank.showing(VocabularyTag(7, "owl", "object")).any()


def test_pictures_that_all_look_alike_are_refused():
    with pytest.raises(ModelError, match="all look alike to the model"):
        make_negatives(np.ones((5, 8), np.float32), [()] * 5, TAGS, 5)


def test_the_bank_that_ships_belongs_to_the_model_that_ships():
    bank = shipped_negatives(find_model(None))
    assert bank is not None, "the image encoder has changed; make the bank again (benchmarks/negatives.py)"
    assert len(bank.points) == len(bank.shown) > 5000
    assert len(bank.center) == 256 + 1000 + 256
    shown = {name: bank.showing(VocabularyTag(0, name, "object")).mean() for name in ("dog", "airplane", "raccoon")}
    assert 0.01 < shown["dog"] < 0.2
    assert 0.01 < shown["airplane"] < 0.1
    assert shown["raccoon"] < 0.001  # Left out, because a benchmark teaches it.
