import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytag.language.parsing.lemmas import adjective_lemma, noun_lemma, verb_lemma
from anytag.language.parsing.tokens import tokenize

VERBS = {
    "riding": "ride", "rides": "ride", "rode": "ride", "hitting": "hit", "hopping": "hop", "hoping": "hope",
    "stopped": "stop", "watches": "watch", "flies": "fly", "carried": "carry", "passing": "pass", "rolling": "roll",
    "lying": "lie", "laying": "lie", "skiing": "ski", "racing": "race", "sat": "sit", "worn": "wear",
    "rollerskating": "rollerskate", "leaning": "lean", "swimming": "swim", "seated": "seat", "using": "use",
}  # fmt: skip
NOUNS = {
    "dogs": "dog", "buses": "bus", "women": "woman", "people": "person", "boxes": "box", "benches": "bench",
    "horses": "horse", "knives": "knife", "jeans": "jeans", "glass": "glass", "tomatoes": "tomato", "shoes": "shoe",
    "cherries": "cherry", "cookies": "cookie", "series": "series", "policemen": "policeman", "sheep": "sheep",
    "tennis": "tennis", "raviolis": "ravioli", "wolves": "wolf", "giraffes": "giraffe",
}  # fmt: skip


@pytest.mark.parametrize(("form", "lemma"), VERBS.items())
def test_verbs(form, lemma):
    assert verb_lemma(form) == lemma


@pytest.mark.parametrize(("form", "lemma"), NOUNS.items())
def test_nouns(form, lemma):
    assert noun_lemma(form) == lemma


@pytest.mark.parametrize(("form", "lemma"), [("older", "old"), ("biggest", "big"), ("grey", "gray"), ("red", "red")])
def test_adjectives(form, lemma):
    assert adjective_lemma(form) == lemma


@given(st.text(alphabet="abcdeginorstuvwxyz", max_size=12))
def test_any_word_has_a_base_form(word):
    for lemma in (noun_lemma, verb_lemma, adjective_lemma):
        assert isinstance(lemma(word), str)


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("A man's t-shirt.", ["A", "man", "'s", "t-shirt", "."]),
        ("the girl 's hand", ["the", "girl", "'s", "hand"]),
        ("a black-and-white cat", ["a", "black", "and", "white", "cat"]),
        ("it isn’t 3:30", ["it", "is", "n't", "3:30"]),
        ("", []),
    ],
)
def test_tokens(caption, tokens):
    assert tokenize(caption) == tokens
