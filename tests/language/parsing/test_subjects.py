"""Verbs behind who does something: three hundred of them behind two hundred persons and animals."""

from __future__ import annotations

import pytest
from clauses import FRAMES, INTRANSITIVE, NOUNS, clauses

from anytag.language.parsing.parser import load_parser
from anytag.language.parsing.subjects import beings, intransitive_verbs


@pytest.fixture(scope="module")
def parser():
    return load_parser("light")


def test_the_lists_are_as_long_as_they_say():
    assert (len(NOUNS), len(INTRANSITIVE)) == (200, 300)
    assert set(NOUNS) <= beings()
    assert set(INTRANSITIVE) <= intransitive_verbs()


@pytest.mark.parametrize("frame", FRAMES)
def test_verbs_are_no_part_of_the_noun(parser, frame):
    """Each verb behind every twentieth noun; ``benchmarks/intransitive_verbs.py`` goes through all of them."""
    asked = list(clauses(frame, 20))
    parsed = parser.parse_many(clause.caption for clause in asked)
    wrong = [
        (clause.caption, faults) for clause, tags in zip(asked, parsed, strict=True) if (faults := clause.faults(tags))
    ]
    assert len(wrong) <= len(asked) / 500, wrong[:5]


def names(parser, caption, kind):
    return {tag.name for tag in parser.parse(caption) if tag.kind == kind}


@pytest.mark.parametrize(
    ("caption", "things", "actions"),
    [
        ("a black cat sleeps on a red sofa", {"cat", "sofa"}, {"sleep"}),
        ("a boy and a girl dance in the rain", {"boy", "girl", "rain"}, {"dance"}),
        ("White dove glides above water .", {"dove", "water"}, {"glide"}),
        ("people shop while a dog naps", {"person", "dog"}, {"shop", "nap"}),
        # A determiner of the singular in front of a plural: no other reading is left.
        ("a dog corners a cat under a bench", {"dog", "cat", "bench"}, {"corner"}),
        # Things that are called after who uses them.
        ("lobster rolls and fries", {"lobster roll", "fry"}, set()),
        ("horse races are on television", {"horse race", "television"}, set()),
        ("the baby shoes on the table", {"baby shoe", "table"}, set()),
        ("two dog houses in a yard", {"dog house"}, set()),
        ("a man wearing ski pants", {"man", "ski pants"}, {"wear"}),
    ],
)
def test_captions(parser, caption, things, actions):
    assert names(parser, caption, "object") - {"yard"} | (names(parser, caption, "scene") & things) == things
    assert names(parser, caption, "action") == actions
