"""Names that RAM knows: each is a tag, an alias, or said to be untrained."""

from anytag.language.tags.known_names import ram_names, untrained_names
from anytag.model.directory import find_model
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

VOCABULARY = TagVocabulary(
    [VocabularyTag(0, "llama", "object", aliases=("alpaca",)), VocabularyTag(1, "cat", "object")]
)


def test_there_are_as_many_as_in_the_paper():
    assert len(ram_names()) == len(set(ram_names())) == 4585


def test_a_name_that_is_a_tag_or_an_alias_is_not_untrained():
    assert "alpaca" not in untrained_names("alpaca", VOCABULARY, 20)
    assert untrained_names("Abacus", VOCABULARY, 20) == ["abacus"]


def test_shorter_names_come_first_and_there_are_no_more_than_asked_for():
    found = untrained_names("water", VOCABULARY, 3)
    assert len(found) == 3
    assert [len(name) for name in found] == sorted(len(name) for name in found)


def test_words_begin_with_the_text():
    found = untrained_names("cat", VOCABULARY, 100)
    assert "cat furniture" in found
    assert not {"locate", "education"} & set(found)


def test_every_name_is_found_in_the_shipped_vocabulary_or_said_to_be_untrained():
    vocabulary = find_model(None).vocabulary
    trained = [name for name in ram_names() if vocabulary.find(name) is not None]
    others = untrained_names("", vocabulary, 10_000)
    assert sorted([*trained, *others]) == sorted(ram_names())
    assert len(trained) >= 2400
