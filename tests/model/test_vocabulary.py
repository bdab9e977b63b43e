import json

import pytest

from anytag.errors import VocabularyError
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary, VocabularyTag


@pytest.fixture
def vocabulary():
    return TagVocabulary(
        [
            VocabularyTag(0, "animal", "object", support=9),
            VocabularyTag(1, "dog", "object", aliases=("hound", "doggy"), implies=(0,), support=7),
            VocabularyTag(2, "puppy", "object", implies=(1,), support=2),
            VocabularyTag(3, "train", "object", aliases=("railway train",), support=5),
            VocabularyTag(4, "train", "action", support=1, translations=(("de", "trainieren"),)),
            VocabularyTag(5, "hound", "action", threshold=0.5, threshold_from="F1", sources=("captions",)),
        ]
    )


def test_names_compare_without_case_blanks_and_underscores():
    assert normalize_name("  Fire_Truck ") == "fire truck"


def test_two_senses_of_a_word_are_two_tags(vocabulary):
    assert vocabulary.find("train").id == 3
    assert vocabulary.find("Train", "action").id == 4
    assert vocabulary.find("train", "scene") is None


def test_a_name_wins_over_an_alias(vocabulary):
    assert vocabulary.find("hound").id == 5
    assert vocabulary.find("hound", "object").id == 1
    assert vocabulary.find("railway_train").id == 3


def test_search_puts_whole_matches_first(vocabulary):
    assert [tag.id for tag in vocabulary.search("train")] == [3, 4]
    assert [tag.id for tag in vocabulary.search("dog")] == [1]
    assert len(vocabulary.search("", limit=2)) == 2


def test_implication_is_transitive_and_can_be_undone(vocabulary):
    assert vocabulary.with_implied([2]) == {0, 1, 2}
    assert vocabulary.most_specific({0, 1, 2, 3}) == {2, 3}
    assert vocabulary.path(2) == ("animal", "dog", "puppy")
    assert vocabulary.path(3) == ("train",)


def test_a_circle_does_not_hang():
    circle = TagVocabulary(
        [VocabularyTag(0, "a", "object", implies=(1,)), VocabularyTag(1, "b", "object", implies=(0,))]
    )
    assert circle.with_implied([0]) == {0, 1}
    assert circle.path(0) == ("b", "a")


def test_selection_renumbers(vocabulary):
    small = vocabulary.select(lambda tag: tag.name != "dog")
    assert [tag.id for tag in small] == list(range(5))
    assert small.find("puppy").implies == ()


def test_a_file_gives_back_what_was_saved(vocabulary, tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabulary.save(path)
    assert list(TagVocabulary.load(path)) == list(vocabulary)
    assert not list(tmp_path.glob("*.part"))
    assert len(path.read_text().splitlines()) == len(vocabulary) + 2


@pytest.mark.parametrize(
    ("tags", "complaint"),
    [
        ([VocabularyTag(1, "dog", "object")], "stands at place 0"),
        ([VocabularyTag(0, "dog", "beast")], "unknown kind"),
        ([VocabularyTag(0, "dog", "object"), VocabularyTag(1, "dog", "object")], "two tags"),
        ([VocabularyTag(0, "dog", "object", implies=(7,))], "do not exist"),
    ],
)
def test_a_bad_tag_is_refused(tags, complaint):
    with pytest.raises(VocabularyError, match=complaint):
        TagVocabulary(tags)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}", "not a vocabulary"),
        ("nonsense", "not a JSON file"),
        (json.dumps({"format": 99, "tags": []}), "newer"),
        (json.dumps({"format": 1, "tags": [{"id": 0, "nom": "chien"}]}), "unknown fields"),
        (json.dumps({"format": 1, "tags": [{"id": 0}]}), "tag 0"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, text, complaint):
    path = tmp_path / "vocabulary.json"
    path.write_text(text)
    with pytest.raises(VocabularyError, match=complaint) as caught:
        TagVocabulary.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(VocabularyError, match="no such vocabulary file"):
        TagVocabulary.load(tmp_path / "none.json")
