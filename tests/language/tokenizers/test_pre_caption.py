"""Cleaned captions against the official function, and where ours differ."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytag.errors import UsageError
from anytag.language.tokenizers.pre_caption import pre_caption


@pytest.fixture(scope="module")
def vectors(oracle):
    return json.loads((oracle / "vectors" / "pre_caption.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("setting", "limit"), [("default_max50", 50), ("max30", 30), ("max5", 5)])
def test_equals_the_released_pre_caption(vectors, setting, limit):
    for case in vectors["pre_caption"]:
        assert pre_caption(case["input"], limit, official=True) == case[setting]


def test_ours_differs_from_the_released_in_white_space_alone(vectors):
    for case in vectors["pre_caption"]:
        assert pre_caption(case["input"]) == " ".join(case["default_max50"].split())


@pytest.mark.parametrize(
    ("text", "official", "ours"),
    [
        ("A  Dog.", "a dog", "a dog"),
        ("a\tdog", "a\tdog", "a dog"),
        ("a dog\n", "a dog", "a dog"),
        ("a dog\t", "a dog\t", "a dog"),
        ("(two) cats: one, two", "two cats one, two", "two cats one, two"),
        ("3.5%", "3 5%", "3 5%"),
    ],
)
def test_captions_by_hand(text, official, ours):
    assert pre_caption(text, official=True) == official
    assert pre_caption(text) == ours


def test_words_are_counted_with_any_white_space():
    assert pre_caption("a\tb\tc d", 2) == "a b"
    assert pre_caption("a\tb\tc d", 2, official=True) == "a\tb\tc d"


@given(st.text(alphabet="aB .,!\"()*#:;~'?-é", max_size=60), st.integers(1, 12))
def test_with_blanks_alone_both_captions_are_the_same(text, limit):
    assert pre_caption(text, limit) == pre_caption(text, limit, official=True)


@given(st.text(max_size=60), st.integers(1, 12))
def test_cleaned_captions(text, limit):
    result = pre_caption(text, limit)
    assert result == " ".join(result.split())
    assert len(result.split()) <= limit
    assert not set(result) & set('.!"()*#:;~')


def test_no_words_at_all_are_refused():
    with pytest.raises(UsageError, match="max_words is 0; at least one word must be kept"):
        pre_caption("a dog", 0)
