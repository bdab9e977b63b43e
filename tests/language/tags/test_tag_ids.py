"""Names and captions to ids: by name, by alias, as a caption would be understood; in order, each once, counted."""

from __future__ import annotations

from anytag.datasets.samples import TagName
from anytag.language.parsing.parser import load_parser
from anytag.language.parsing.rules import ParsedTag
from anytag.language.tags.tag_ids import TagIds
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

VOCABULARY = TagVocabulary(
    [
        VocabularyTag(0, "dog", "object", aliases=("puppy",), implies=(2,)),
        VocabularyTag(1, "red", "attribute"),
        VocabularyTag(2, "animal", "object"),
        VocabularyTag(3, "run", "action"),
        VocabularyTag(4, "train", "object"),
    ]
)


def test_names_and_aliases_then_what_the_parser_would_make_of_them():
    ids = TagIds(VOCABULARY)
    assert ids.of_names(TagName(name) for name in ("Puppy", "dogs", "spaceship", "red")) == {0, 1}
    assert ids.unknown == {"names_known": 3, "names_unknown": 1}


def test_captions_in_their_order_each_tag_once_and_nothing_implied():
    ids = TagIds(VOCABULARY, load_parser("light"))
    assert ids.of_caption("a red train and a puppy that runs behind a dog") == (1, 4, 0, 3)
    assert ids.of_caption("it is nice") == ()
    assert TagIds(VOCABULARY).of_caption("a dog") is None


def test_parsed_captions_are_counted():
    ids = TagIds(VOCABULARY)
    assert ids.of_parsed([ParsedTag("yak", "object"), ParsedTag("run", "action"), ParsedTag("run", "action")]) == (3,)
    assert ids.unknown == {"names_known": 2, "names_unknown": 1}


def test_another_kind_is_another_tag():
    ids = TagIds(VOCABULARY)
    assert ids.of_kind("train", "object") == (4,)
    assert ids.of_kind("train", "action") == ()
