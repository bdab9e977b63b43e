"""What captions and classes say of tags: true, not there, or nobody knows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import require_module

require_module("torch", "train")

from anytag.datasets.samples import Sample, TagName  # noqa: E402
from anytag.errors import UsageError  # noqa: E402
from anytag.language.parsing.parser import load_parser  # noqa: E402
from anytag.model.vocabulary import TagVocabulary, VocabularyTag  # noqa: E402
from anytag.training.evidence.partial_labels import ClassTargets, caption_targets, naming_rates  # noqa: E402
from anytag.training.families.batches import SampleTags  # noqa: E402

VOCABULARY = TagVocabulary([
    VocabularyTag(0, "animal", "object"),
    VocabularyTag(1, "cat", "object", implies=(0,)),
    VocabularyTag(2, "dog", "object", implies=(0,)),
    VocabularyTag(3, "puppy", "object", implies=(2,)),
    VocabularyTag(4, "bee", "object", implies=(0,)),
    VocabularyTag(5, "table", "object"),
    VocabularyTag(6, "chair", "object"),
])  # fmt: skip
COLLECTIONS = {"pets": {"classes": ["cat", "puppy", "dog"]}, "furniture": {"classes": ["table", "chair", "sofa"]}}


@pytest.fixture(scope="module")
def tags():
    return SampleTags(VOCABULARY, load_parser("light"))


def described(*captions):
    return Sample(id="1", picture=b"", captions=captions, source="shard.tar:1.jpg")


def labeled(name):
    return Sample(id="1", picture=b"", tags=(TagName(name),), source="shard.tar:1.jpg")


@pytest.fixture
def classes(tags, tmp_path):
    path = tmp_path / "collections.json"
    path.write_text(json.dumps(COLLECTIONS))
    return ClassTargets(path, tags, 0, (0,))


def test_captions_label_what_is_there_and_nothing_else(tags):
    targets = caption_targets([described("a puppy on a table"), described("a cat", "a chair")], tags)
    assert targets.values.tolist() == [[1, 0, 1, 1, 0, 1, 0], [1, 1, 0, 0, 0, 0, 1]]
    assert targets.captions.tolist() == [1, 2]


def test_a_class_excludes_its_collection_and_its_siblings_and_the_rest_is_unknown(classes):
    targets = classes([labeled("cat"), labeled("puppy"), labeled("dog"), labeled("table")])
    assert targets.captions.tolist() == [0, 0, 0, 0]
    # animal, cat, dog, puppy, bee, table, chair
    assert targets.values.tolist() == [
        [1, 1, 0, 0, 0, -1, -1],  # no dog of any kind and no bee; there may be a table
        [1, 0, 1, 1, 0, -1, -1],  # a puppy is a dog, though "dog" is another class of the collection
        [1, 0, 1, -1, 0, -1, -1],  # it may be a puppy
        [-1, -1, -1, -1, -1, 1, 0],  # animals may stand on it
    ]


def test_absent_tags_and_their_kinds_are_absent_unless_the_class_is_one(tags, tmp_path):
    (tmp_path / "collections.json").write_text(json.dumps(COLLECTIONS))
    # animal, cat, dog, puppy, bee, table, chair
    for absent, table, cat in (
        ([0], [0, 0, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, -1, -1]),
        ([2], [-1, -1, 0, 0, -1, 1, 0], [1, 1, 0, 0, 0, -1, -1]),
        ([0, 6], [0, 0, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, -1, 0]),
    ):
        targets = ClassTargets(tmp_path / "collections.json", tags, 0, (0,), absent)
        assert targets([labeled("table"), labeled("cat")]).values.tolist() == [table, cat]


def test_a_class_that_is_not_a_tag_is_rejected(classes):
    with pytest.raises(UsageError, match=r"^shard.tar:1.jpg: the model has no tag 'sofa'$"):
        classes([labeled("sofa")])


def test_a_picture_has_one_class(classes):
    with pytest.raises(UsageError, match=r"^shard.tar:1.jpg: has 0 classes instead of one$"):
        classes([described("a cat")])


def test_a_picture_without_captions_is_rejected(tags):
    with pytest.raises(UsageError, match="has neither captions nor, with collections, a class"):
        caption_targets([labeled("cat")], tags)


@pytest.mark.parametrize("content", ["[1]", "{", '{"pets": ["cat"]}', '{"pets": {}}'])
def test_collections_in_another_format_are_rejected(tags, tmp_path, content):
    (tmp_path / "collections.json").write_text(content)
    with pytest.raises(UsageError, match=r"collections.json: cannot be read as collections of classes"):
        ClassTargets(tmp_path / "collections.json", tags, None, ())


def test_how_often_a_caption_names_what_another_one_names(tags):
    # "dog" stands in 2 of 2 captions of one picture and in 1 of 2 of the other, "cat" in 1 of 2.
    samples = [described("a dog", "the dog"), described("a dog", "a cat"), described("a table")]
    found = naming_rates(samples, tags)
    # Counts by hand: named animal 4 + 0, dog 3, cat 1; by another caption as well: animal 4, dog 2, cat 0.
    usual = (4 + 2 + 0) / (4 + 3 + 1)
    expected = {0: (4 + 20 * usual) / 24, 2: (2 + 20 * usual) / 23, 1: (0 + 20 * usual) / 21, 5: usual}
    for id, rate in expected.items():
        assert found[id] == pytest.approx(rate), VOCABULARY[id].name


def test_without_pictures_of_several_captions_half_is_named(tags):
    assert np.all(naming_rates([described("a dog")], tags) == 0.5)
