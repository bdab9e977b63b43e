import pytest

from anytag.errors import VocabularyError
from anytag.language.parsing.rules import ParsedTag
from anytag.language.tags.knowledge import load_knowledge
from anytag.language.tags.vocabulary_builder import TagMapper, build_vocabulary, imagenet_tag_ids
from anytag.model.vocabulary import TagVocabulary, VocabularyTag


def tags(text):
    """``object dog, action run`` as parsed tags."""
    return [ParsedTag(name, kind) for kind, _, name in (part.strip().partition(" ") for part in text.split(","))]


PICTURES = [
    tags("object puppy, action leap, attribute gray, object side"),
    tags("object motorbike, object guy, object puppy"),
    tags("object motorcycle, scene beach, attribute grey, object flumph"),
    tags("object skate board, object people, action jump, object flumphs"),
    tags("object skateboard, action train, object train, object dog"),
]


@pytest.fixture(scope="module")
def vocabulary():
    return build_vocabulary(PICTURES, min_support=1, imagenet=False)


def support(vocabulary, name, kind=None):
    return vocabulary.find(name, kind).support


def test_synonyms_plurals_and_joined_words_are_one_tag(vocabulary):
    assert support(vocabulary, "motorcycle") == 2
    assert support(vocabulary, "skateboard") == 2
    assert support(vocabulary, "gray", "attribute") == 2
    assert support(vocabulary, "jump", "action") == 2
    assert support(vocabulary, "flumph") == 2
    assert vocabulary.find("motorbike").name == "motorcycle"


def test_support_counts_pictures_in_which_a_tag_is_true(vocabulary):
    assert support(vocabulary, "puppy") == 2
    assert support(vocabulary, "dog") == 3
    assert support(vocabulary, "person") == 2
    assert vocabulary.find("man").sources == ("captions",)
    assert vocabulary.find("vehicle").sources == ("implied",)


def test_two_senses_of_a_word_are_two_ids(vocabulary):
    assert vocabulary.find("train", "object").id != vocabulary.find("train", "action").id


def test_kinds_and_blocked_words(vocabulary):
    assert vocabulary.find("beach").kind == "scene"
    assert vocabulary.find("side") is None


def test_ids_go_by_support_then_name(vocabulary):
    keys = [(-tag.support, tag.name, tag.kind) for tag in vocabulary]
    assert keys == sorted(keys)
    again = build_vocabulary(list(reversed(PICTURES)), min_support=1, imagenet=False)
    assert again.to_json() == vocabulary.to_json()


def test_rare_tags_go_and_implied_ones_stay():
    small = build_vocabulary(PICTURES, min_support=2, imagenet=False)
    assert small.find("beach") is None
    assert small.find("animal").support == 3
    fewer = build_vocabulary(PICTURES, min_support=1, max_tags=1, imagenet=False)
    assert [tag.name for tag in fewer if "captions" in tag.sources] == ["motorcycle"] or len(fewer) < len(small)


def test_a_noun_that_is_mostly_a_verb_is_no_object():
    pictures = [tags("object flumph flounce"), tags("object flounce"), *[tags("action flounce")] * 4]
    made = build_vocabulary(pictures, min_support=1, imagenet=False)
    assert [(tag.name, tag.kind, tag.support) for tag in made] == [("flounce", "action", 6)]


def test_all_imagenet_classes_are_added():
    full = build_vocabulary(PICTURES, min_support=1)
    ids = imagenet_tag_ids(full)
    assert len(ids) == 1000
    assert None not in ids
    assert [full[id].name for id in ids] == [item.name for item in load_knowledge().imagenet]
    assert full.find("labrador").name == "labrador retriever"
    assert full.find("labrador").support == 0
    names = {full[id].name for id in full.with_implied([full.find("labrador").id])}
    assert names == {"labrador retriever", "retriever", "dog", "animal"}


def test_imagenet_classes_may_be_missing(vocabulary):
    ids = imagenet_tag_ids(vocabulary)
    assert ids.count(None) > 900
    assert {vocabulary[id].name for id in ids if id is not None} <= {item.name for item in load_knowledge().imagenet}


def mapped(vocabulary, text, implied=False):
    return {vocabulary[id].name for id in TagMapper(vocabulary)(tags(text), implied)}


def test_unknown_compounds_back_off_to_their_head(vocabulary):
    assert mapped(vocabulary, "object happy little puppy") == {"puppy"}
    assert mapped(vocabulary, "object red motor bike") == {"motorcycle"}
    assert mapped(vocabulary, "object wooden gizmo") == set()


def test_a_toy_is_not_the_thing(vocabulary):
    assert mapped(vocabulary, "object toy train") == set()
    assert mapped(vocabulary, "object big stuffed dog") == set()


def test_a_verb_taken_for_a_noun_is_found(vocabulary):
    assert mapped(vocabulary, "object dog leap") == {"dog", "jump"}
    assert mapped(vocabulary, "object leap") == {"jump"}


def test_mapping_adds_what_follows(vocabulary):
    assert mapped(vocabulary, "object puppies", implied=True) == {"puppy", "dog", "animal"}
    assert mapped(vocabulary, "action dog, object nothing such") == set()


def test_a_vocabulary_without_kinds_takes_every_word():
    flat = TagVocabulary([VocabularyTag(0, "smile", "object"), VocabularyTag(1, "red", "object")])
    assert TagMapper(flat)(tags("action smile, attribute red")) == {0, 1}


def test_invalid_requests_are_refused():
    with pytest.raises(VocabularyError, match="min_support"):
        build_vocabulary(PICTURES, min_support=0)
    with pytest.raises(VocabularyError, match="support of 99"):
        build_vocabulary(PICTURES, min_support=99, imagenet=False)
