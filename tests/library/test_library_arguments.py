"""Invalid arguments of a library are refused by name."""

from __future__ import annotations

import numpy as np
import pytest

import anytag
from anytag.errors import UsageError
from anytag.pictures import find_pictures


@pytest.mark.parametrize("place", [None, 5, 1.5, True, b"photos", [], {}, np.zeros(3), object()])
def test_a_place_that_is_no_path(place):
    with pytest.raises(UsageError, match=r"^place must be a path, not "):
        anytag.Library(place)


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("search", {"query": 5}, "query must be a string, not 5"),
        ("search", {"text": ["a"]}, "text must be a string, not "),
        ("search", {"query": "a", "limit": "x"}, "limit must be a whole number, not 'x'"),
        ("search", {"query": "a", "facets": -1}, "facets must be at least 0, not -1"),
        ("update", {"captions": 1}, "captions must be True or False, not 1"),
        ("duplicates", {"least": "x"}, "least must be a number, not 'x'"),
        ("facets", {"most": 1.5}, "most must be a whole number, not 1.5"),
    ],
)
def test_verbs(tmp_path, verb, options, message):
    with pytest.raises(UsageError, match=message):
        getattr(anytag.Library(tmp_path), verb)(**options)


@pytest.mark.parametrize("left_out", [5, {}, b"x", np.zeros(3)])
def test_what_counts_what_is_left_out(tmp_path, left_out):
    with pytest.raises(UsageError, match=r"^left_out must be a LeftOut, not "):
        find_pictures(tmp_path, left_out=left_out)
