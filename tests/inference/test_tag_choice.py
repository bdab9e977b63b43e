"""Own lists of tags: what is looked for, and what it is called."""

from __future__ import annotations

import pytest
from fixtures_toy import TAGS, plain, toy_recognizer
from hypothesis import given
from hypothesis import strategies as st

from anytag.errors import UsageError
from anytag.inference.recognizer import Recognizer
from anytag.inference.tag_choice import ChosenTags, TagChoice
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

VOCABULARY = TagVocabulary(
    [
        VocabularyTag(0, "train", "object", translations=(("zh", "火车"),)),
        VocabularyTag(1, "train", "action", aliases=("exercise",), translations=(("zh", "训练"),)),
        VocabularyTag(2, "dog", "object", aliases=("hound",)),
        VocabularyTag(3, "big dog", "object"),
    ]
)


def chosen(**options):
    return ChosenTags(VOCABULARY, TagChoice(**options))


def ids(**options):
    return [tag.id for tag in chosen(**options).tags]


class TestLists:
    def test_a_name_stands_for_all_its_senses_and_a_kind_for_one(self):
        assert ids(allow=["train"]) == [0, 1]
        assert ids(allow=["Train (action)", "big_dog"]) == [1, 3]

    def test_aliases_and_ids(self):
        assert ids(allow=["hound", "exercise"]) == [1, 2]
        assert ids(deny=["2", "0"]) == [1, 3]

    def test_what_is_allowed_and_denied_is_denied(self):
        assert ids(allow=["train", "dog"], deny=["train (object)"]) == [1, 2]

    def test_files_have_comments_and_blank_lines(self, tmp_path):
        path = tmp_path / "mine.txt"
        path.write_text("\ufeff# animals\n\n  hound \r\n", encoding="utf-8")
        assert ids(allow=path) == [2]

    def test_an_unknown_tag_is_named_with_its_line(self, tmp_path):
        path = tmp_path / "mine.txt"
        path.write_text("train\ndgo\n")
        with pytest.raises(UsageError) as caught:
            chosen(deny=path)
        assert str(caught.value) == (
            f"{path}, line 2: unknown tag 'dgo'; did you mean dog? (anytag vocabulary search shows what there is)"
        )

    @pytest.mark.parametrize("text", ["4", "train (scene)", "-1"])
    def test_ids_and_senses_that_do_not_exist(self, text):
        with pytest.raises(UsageError, match="allow: unknown tag"):
            chosen(allow=[text])

    def test_nothing_left(self):
        with pytest.raises(UsageError, match="allow and deny leave no tag to look for"):
            chosen(allow=["dog"], deny=["hound"])

    def test_a_missing_file_of_tags(self, tmp_path):
        with pytest.raises(UsageError, match="cannot be read as a list of tags"):
            chosen(allow=tmp_path / "no.txt")

    @given(st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3)))
    def test_lists_are_sets(self, allow, deny):
        left = sorted(allow - deny)
        if left:
            assert ids(allow=[str(i) for i in allow], deny=[str(i) for i in deny]) == left


class TestNames:
    def test_a_table_by_name_sense_or_id(self, tmp_path):
        path = tmp_path / "german.txt"
        path.write_text("train (object) = Zug\n1\tüben\n# 3 = nobody\nhound = Hund\n", encoding="utf-8")
        view = chosen(rename=path)
        assert [view.name(tag) for tag in VOCABULARY] == ["Zug", "üben", "Hund", "big dog"]
        assert view.find("HUND") is VOCABULARY[2]
        assert view.find("dog") is VOCABULARY[2]

    def test_a_language_that_the_vocabulary_has(self):
        view = chosen(language="zh", rename={"1": "锻炼"})
        assert [view.name(tag) for tag in VOCABULARY] == ["火车", "锻炼", "dog", "big dog"]
        assert view.find("火车") is VOCABULARY[0]

    def test_a_language_without_names(self):
        with pytest.raises(UsageError, match="no names in 'de'; it has zh"):
            chosen(language="de")
        with pytest.raises(UsageError, match="give a table to rename by"):
            ChosenTags(TagVocabulary(TAGS), TagChoice(language="de"))

    @pytest.mark.parametrize("line", ["dog Hund", "dog =", "= Hund"])
    def test_a_line_that_renames_nothing(self, tmp_path, line):
        path = tmp_path / "names.txt"
        path.write_text(line)
        with pytest.raises(UsageError, match=r"names\.txt, line 1: .* is not 'tag = new name'"):
            chosen(rename=path)


def test_the_recognizer_looks_for_them_under_these_names(tmp_path):
    toy = toy_recognizer(tmp_path / "toy")
    choice = TagChoice(deny=["animal"], rename={"dog": "Hund"})
    mine = Recognizer(toy.directory, toy.backend, tags=choice)
    everything = {tag.id: tag.score for tag in toy.tag(plain("red"), threshold=0).tags}
    seen = mine.tag(plain("red"), threshold=0).tags
    assert {tag.name for tag in seen} == {"Hund", "beach", "run", "red"}
    assert all(tag.score == everything[tag.id] for tag in seen)
    [asked] = mine.tag(plain("red"), categories=["hund"], threshold=0).tags
    assert (asked.name, asked.taken_for) == ("hund", "Hund")
    # Captions are guided in the model's own words, and what guided them goes by the new names.
    assert mine.caption(plain("red"), threshold=0.5).given == ("red", "Hund")


def test_tags_of_one_new_name_are_one(tmp_path):
    toy = toy_recognizer(tmp_path / "toy")
    choice = TagChoice(rename={"dog": "Tier", "animal": "Tier", "beach": "run"})
    mine = Recognizer(toy.directory, toy.backend, tags=choice)
    # Red: red 1, animal .7, dog .6; the best of those that share a name stands for all, and none is counted twice.
    found = mine.tag(plain("red"), threshold=0).tags
    assert [(tag.name, tag.id) for tag in found] == [("red", 4), ("Tier", 0), ("run", 2)]
    assert [tag.name for tag in mine.tag(plain("red"), threshold=0, top=2).tags] == ["red", "Tier"]
    # Teal: beach .25, run .5 of green and blue.
    assert [(tag.name, tag.id) for tag in mine.tag(plain((0, 128, 128)), threshold=0.2).tags] == [("run", 3)]
    # Whoever asks for both gets both.
    asked = mine.tag(plain("red"), categories=["dog", "tier"], threshold=0).tags
    assert [(tag.name, tag.taken_for) for tag in asked] == [("dog", "Tier"), ("tier", "Tier")]


def test_plurals_are_found():
    assert ids(allow=["Dogs", "big dogs"]) == [2, 3]
    assert ids(deny=["trains (object)", "exercises"]) == [2, 3]
    assert chosen(rename={"hounds": "Hund"}).find("dogs") == VOCABULARY[2]
    assert chosen(rename={"hounds": "Hund"}).name(VOCABULARY[2]) == "Hund"
