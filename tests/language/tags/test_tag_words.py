"""Words that name tags, and how tags weigh them; by hand."""

from __future__ import annotations

import numpy as np
import pytest

from anytag.language.tags.tag_words import HIGHEST, LOWEST, TagWords
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

VOCABULARY = TagVocabulary(
    [
        VocabularyTag(0, "dog", "object", aliases=("hound",)),
        VocabularyTag(1, "train", "object"),
        VocabularyTag(2, "train", "action"),
        VocabularyTag(3, "beach", "scene"),
        VocabularyTag(4, "red", "attribute"),
        VocabularyTag(5, "fire hydrant", "object"),
        VocabularyTag(6, "ox", "object"),
    ]
)
PIECES = {
    name: place
    for place, name in enumerate(
        ("[PAD]", "dog", "dogs", "hounds", "train", "beaches", "red", "hydrant", "##dog", "ox", "the")
    )
}
NAN = float("nan")


def weights(*margins):
    found = TagWords(VOCABULARY, PIECES).weights(np.array(margins, np.float64))
    assert found.dtype == np.float32
    return {word: float(found[place]) for word, place in PIECES.items() if found[place]}


def test_names_aliases_and_plurals_of_objects_and_scenes_are_weighed():
    assert weights(-1, -2, 7, 1, 1, 1, 1) == {"dog": -1, "dogs": -1, "hounds": -1, "train": -2, "beaches": 1}


def test_margins_are_clipped():
    assert weights(-50, 50, 0, NAN, 0, 0, 0) == {"dog": LOWEST, "dogs": LOWEST, "hounds": LOWEST, "train": HIGHEST}


def test_tags_that_were_not_asked_for_weigh_nothing():
    assert weights(*[NAN] * 7) == {}


def test_the_most_likely_sense_counts():
    vocabulary = TagVocabulary([VocabularyTag(0, "orange", "object"), VocabularyTag(1, "orange", "scene")])
    for margins, expected in (([-3, 1], 1), ([1, -3], 1), ([NAN, -3], -3), ([-3, NAN], -3)):
        assert TagWords(vocabulary, {"orange": 0}).weights(np.array(margins)).tolist() == [expected]


def test_a_vocabulary_without_such_words():
    assert TagWords(TagVocabulary([]), {"a": 0, "b": 4}).weights(np.empty(0)).tolist() == [0.0] * 5


@pytest.mark.parametrize("word", ["the", "##dog", "red", "ox", "hydrant"])
def test_other_pieces_are_left_alone(word):
    assert word not in weights(2, 2, 2, 2, 2, 2, 2)
