"""Numbers and what they count."""

from __future__ import annotations

from anytag.foundations.wording import counted, listed


def test_one_is_singular_and_all_else_plural():
    assert [counted(number, "shard") for number in (0, 1, 2)] == ["0 shards", "1 shard", "2 shards"]
    assert counted(2000, "shard") == "2,000 shards"


def test_nouns_whose_plural_is_more_than_an_s():
    assert [counted(number, "class") for number in (1, 3)] == ["1 class", "3 classes"]
    assert [counted(number, "such category") for number in (1, 3)] == ["1 such category", "3 such categories"]


def test_the_first_names():
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c"], 2) == "a, b, …"
