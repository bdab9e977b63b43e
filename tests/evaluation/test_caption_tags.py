"""What captions say of annotated tags, and captioners as taggers."""

from __future__ import annotations

import numpy as np
import pytest

from anytag.errors import UsageError
from anytag.evaluation.caption_tags import CategoryParser, caption_tag_figures
from anytag.model.vocabulary import TagVocabulary, VocabularyTag


def test_coverage_and_hallucination_by_hand():
    named = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]], bool)
    truth = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]], bool)
    figures = caption_tag_figures(named, truth)
    assert figures.coverage == pytest.approx(2 / 4)
    assert figures.hallucinated == pytest.approx(1 / 3)
    assert figures.hallucinating == pytest.approx(1 / 3)
    assert figures.named == pytest.approx(1.0)


def test_shapes_and_empty_annotations():
    with pytest.raises(UsageError, match=r"^named tags \(1, 2\) and annotations \(1, 3\) must both be"):
        caption_tag_figures(np.ones((1, 2)), np.ones((1, 3)))
    with pytest.raises(UsageError, match=r"^no class has a positive, so coverage is not defined"):
        caption_tag_figures(np.ones((1, 2)), np.zeros((1, 2)))


NAMES = ("dog", "dining table", "airplane", "train", "dog")
SYNONYMS = {"airplane": ("plane", "jet"), "dining table": ("kitchen table",)}


class TestCategoryParser:
    def found(self, caption, **options):
        parser = CategoryParser(NAMES, SYNONYMS, **options)
        return [place for place, found in enumerate(parser([caption])[0]) if found]

    def test_names_plurals_and_repeated_columns(self):
        assert self.found("Two dogs run past a wooden dining table.") == [0, 1, 4]

    def test_synonyms(self):
        assert self.found("a jet lands") == [2]

    def test_empty_captions(self):
        assert self.found("a man smiles") == []

    def test_the_vocabulary_adds_aliases_and_implied_tags(self):
        vocabulary = TagVocabulary(
            [
                VocabularyTag(0, "dog", "object", aliases=("hound",)),
                VocabularyTag(1, "puppy", "object", implies=(0,)),
            ]
        )
        assert self.found("a puppy sleeps") == []
        assert self.found("a puppy sleeps", vocabulary=vocabulary) == [0, 4]
        assert self.found("a hound sleeps", vocabulary=vocabulary) == [0, 4]

    def test_a_known_compound_is_not_its_last_word(self):
        tags = [
            VocabularyTag(0, "dog", "object"),
            VocabularyTag(1, "hot dog", "object"),
            VocabularyTag(2, "sheep dog", "object", implies=(0,)),
            VocabularyTag(3, "table", "object"),
        ]
        vocabulary = TagVocabulary(tags)
        assert self.found("a man eats a hot dog") == [0, 4]  # Without it, nothing says better.
        assert self.found("a man eats a hot dog", vocabulary=vocabulary) == []
        assert self.found("a man eats a hot dog with his dog", vocabulary=vocabulary) == [0, 4]
        assert self.found("a sheep dog and a big dog", vocabulary=vocabulary) == [0, 4]
        assert self.found("a wooden dining table", vocabulary=vocabulary) == [1]
