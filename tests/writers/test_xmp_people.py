"""Keywords of people in XMP packets: exactly those they set, and never mixed up with the model's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_xmp import CAT, MADE, PACKETS, SOFA, packets

from anytag.errors import XmpError
from anytag.writers.xmp import Keyword, Ours, remove, skeleton, update
from anytag.writers.xmp_lists import DC, DIGIKAM, LIGHTROOM, entries_of
from anytag.writers.xmp_people import edit, people_keywords
from anytag.writers.xmp_tree import encoding_of, parse


def lists(packet):
    root = parse(encoding_of(packet).decode(packet, "a.xmp"), "a.xmp")
    names = (DC + "subject", LIGHTROOM + "hierarchicalSubject", DIGIKAM + "TagsList")
    return [entries_of(root, name) for name in names]


def edited(packet, people, refused=(), keywords=(CAT,)):
    return edit(packet, "a.xmp", people, refused, keywords, "a cat", MADE)


def test_theirs_and_ours_in_every_list():
    packet = edited(skeleton(), ["Grandma", "our garden"])
    assert lists(packet) == [
        ["Grandma", "our garden", "cat"],
        ["Grandma", "our garden", "animal|cat"],
        ["Grandma", "our garden", "animal/cat"],
    ]
    assert people_keywords(packet, "a.xmp") == ("Grandma", "our garden")
    # What is theirs stays when ours goes.
    assert lists(remove(packet, "a.xmp"))[0] == ["Grandma", "our garden"]


def test_a_name_with_a_separator_is_no_path():
    assert lists(edited(skeleton(), ["24/7", "a|b"], keywords=())) == [["24/7", "a|b"], ["24/7"], ["a|b"]]


def test_what_people_refuse_stays_away():
    packet = edited(skeleton(), [], refused=["CAT"], keywords=(CAT, SOFA))
    assert lists(packet)[0] == [SOFA.name]
    assert Ours.read(packet, "a.xmp").refused == {"cat"}
    assert lists(update(packet, "a.xmp", [CAT], None, MADE))[0] == []
    # Until they change their mind.
    assert lists(edited(packet, [], keywords=(CAT, SOFA)))[0] == ["cat", SOFA.name]


def test_a_tag_that_a_person_adds_becomes_theirs():
    packet = edited(edited(skeleton(), []), ["cat"])
    assert people_keywords(packet, "a.xmp") == ("cat",)
    assert lists(packet)[0] == ["cat"]
    assert lists(remove(packet, "a.xmp"))[0] == ["cat"]


def test_taking_one_out_takes_its_paths_out():
    lightroom = PACKETS["lightroom"].encode().replace(b"<rdf:li>Cat</rdf:li>", b"<rdf:li>sea</rdf:li>")
    packet = edited(lightroom, ["holiday"], keywords=())
    assert lists(packet) == [["holiday"], [], []]
    assert b'xmp:Rating="4"' in packet


def test_taking_all_out_leaves_nothing():
    packet = edited(edited(skeleton(), ["Grandma"]), [])
    assert remove(packet, "a.xmp") == skeleton()


@packets()
def test_nothing_to_change_changes_nothing(packet):
    once = edited(packet, people_keywords(packet, "a.xmp"))
    assert edited(once, people_keywords(packet, "a.xmp")) == once
    assert once == update(packet, "a.xmp", [CAT], "a cat", MADE)


@packets()
def test_adding_and_removing_restores_the_lists(packet):
    """Adding and removing a keyword restores the lists."""
    before = people_keywords(packet, "a.xmp")
    there = edited(packet, [*before, "Grandma"])
    assert people_keywords(there, "a.xmp") == (*before, "Grandma")
    back = remove(edited(there, list(before)), "a.xmp")
    assert [list(entries) for entries in lists(back)] == lists(packet)


NAMES = st.lists(
    st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=8).map(str.strip).filter(bool),
    max_size=5,
    unique_by=str.casefold,
)


@settings(max_examples=60, deadline=None)
@given(NAMES, NAMES, st.sampled_from(sorted(PACKETS)))
def test_any_names(first, second, name):
    """Whatever was there before, the keywords of people are the last ones set."""
    packet = edited(edited(PACKETS[name].encode(), first), second)
    assert sorted(people_keywords(packet, "a.xmp")) == sorted(second)
    ours = [] if "cat" in {one.casefold() for one in second} else ["cat"]
    assert sorted(lists(packet)[0]) == sorted([*second, *ours])


def test_what_is_no_xmp_is_left_alone():
    with pytest.raises(XmpError, match="not an XMP file"):
        edited(b"no xmp", ["Grandma"])


def test_names_are_compared_without_case():
    dog = Keyword("dog", ("dog",), 0.9, "object")
    packet = edited(skeleton(), ["Dog"], keywords=(dog,))
    assert lists(packet)[0] == ["Dog"]
