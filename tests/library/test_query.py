"""The query language: the meaning of each form, and errors of malformed queries."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytag.errors import UsageError
from anytag.library.query import And, Not, Or, Term, parse_query

DOG, CAT, BEACH = Term("dog"), Term("cat"), Term("beach")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("dog", DOG),
        ("dog beach", And((DOG, BEACH))),
        ("dog AND beach", And((DOG, BEACH))),
        ("dog -cat", And((DOG, Not(CAT)))),
        ("dog NOT cat", And((DOG, Not(CAT)))),
        ("-cat", Not(CAT)),
        ("dog OR cat beach", Or((DOG, And((CAT, BEACH))))),
        ("(dog OR cat) beach", And((Or((DOG, CAT)), BEACH))),
        ("-(dog cat)", Not(And((DOG, CAT)))),
        ('"hot dog"', Term("hot dog")),
        ("t-shirt", Term("t-shirt")),
        ("scene:beach", Term("beach", "scene")),
        ('caption:"a man"', Term("a man", "caption")),
        ("dog>0.8", Term("dog", None, ">", 0.8)),
        ("object:dog<=0.25", Term("dog", "object", "<=", 0.25)),
        ("score>0.8 dog -cat", And((Term("dog", None, ">", 0.8), Not(Term("cat", None, ">", 0.8))))),
        ("dog>0.5 score>0.8", Term("dog", None, ">", 0.5)),
        ("Hund Straße 狗", And((Term("Hund"), Term("Straße"), Term("狗")))),
        ("or and not", And((Term("or"), Term("and"), Term("not")))),
    ],
)
def test_what_it_means(text, meaning):
    assert parse_query(text) == meaning


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  ", "the query is empty; try: dog beach"),
        ('dog "cat', 'dog "cat: a quote is not closed'),
        ("(dog", "(dog: a '(' is not closed"),
        ("dog)", "dog): a ')' closes nothing"),
        (
            "color:red",
            "color:red: there is no field 'color'; use one of object, scene, attribute, action, tag, caption",
        ),
        ("dog OR", "dog OR: a word is missing before or after OR, AND, NOT, or inside parentheses"),
        ("OR dog", "OR dog: a word is missing"),
        ("()", "(): a word is missing"),
        ("NOT", "NOT: a word is missing"),
        ("score>0.8", "score>0.8: sets a score, but for no word; try: dog score>0.8"),
        ('""', '"": the quotes are empty'),
        ("dog>1.2.3", "dog>1.2.3: 1.2.3 is not a score; scores lie between 0 and 1"),
    ],
)
def test_what_means_nothing(text, message):
    with pytest.raises(UsageError) as raised:
        parse_query(text)
    assert str(raised.value).startswith(message)


@given(st.text(st.sampled_from('dog cat"()-:<>=.08ORANDNT score path:')))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(UsageError):
        parse_query(text)


def test_bytes_that_are_not_utf8_are_searched_for_as_the_index_keeps_them():
    assert parse_query("\udce9.jpg") == parse_query("\ufffd.jpg")
