"""IPTC blocks: anytag's data sets are added beside others, and removed without a trace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytag.writers.iptc import MOST_CAPTION, MOST_KEYWORD, Added, Block

#: 1:00 and 1:90 of a block that is UTF-8, and 2:00.
ENVELOPE = b"\x1c\x01\x00\x00\x02\x00\x04"
UTF_8 = b"\x1c\x01\x5a\x00\x03\x1b%G"
VERSION = b"\x1c\x02\x00\x00\x02\x00\x04"


def one(number, value, record=2):
    value = value if isinstance(value, bytes) else value.encode()
    return bytes((0x1C, record, number)) + len(value).to_bytes(2, "big") + value


def keyword(value):
    return one(25, value)


def test_a_new_block_declares_utf_8():
    data, added = Block(b"").with_ours(["animal", "Käfer"], "A bug.")
    assert data == ENVELOPE + UTF_8 + VERSION + keyword("animal") + keyword("Käfer") + one(120, "A bug.")
    assert added == Added(("animal", "Käfer"), caption=True, character_set=True, envelope=True, block=True)
    assert Block(data).without(added, "A bug.") == b""


def test_ours_are_appended_and_nothing_else_moves():
    before = VERSION + keyword("holiday") + keyword("Dog") + one(90, "Ulm") + one(200, b"\0\1")
    data, added = Block(before).with_ours(["dog", "animal"], "A dog.")
    assert data == (
        VERSION + keyword("holiday") + keyword("Dog") + keyword("animal") + one(90, "Ulm")
        + one(120, "A dog.") + one(200, b"\0\1")
    )  # fmt: skip
    # People's dog is a dog; it is not ours.
    assert added == Added(("animal",), caption=True)
    assert Block(data).without(added, "A dog.") == before


def test_a_block_in_ascii_becomes_utf_8_only_where_it_must():
    before = VERSION + keyword("holiday")
    assert Block(before).with_ours(["dog"], None) == (before + keyword("dog"), Added(("dog",)))
    data, added = Block(before).with_ours(["Käfer"], None)
    assert data == ENVELOPE + UTF_8 + before + keyword("Käfer")
    assert added == Added(("Käfer",), character_set=True, envelope=True)
    assert Block(data).without(added, None) == before
    # Somebody wrote more of it since: it has to stay UTF-8.
    later = data + keyword("Grüße")
    assert Block(later).without(added, None) == ENVELOPE + UTF_8 + before + keyword("Grüße")


def test_an_existing_envelope_stays():
    before = ENVELOPE + VERSION
    data, added = Block(before).with_ours(["Käfer"], None)
    assert data == ENVELOPE + UTF_8 + VERSION + keyword("Käfer")
    assert Block(data).without(added, None) == before


@pytest.mark.parametrize("encoding", ["latin-1", "mac_roman"])
def test_a_block_in_who_knows_what_gets_ascii_only(encoding):
    before = VERSION + keyword("Grüße".encode(encoding))
    data, added = Block(before).with_ours(["Käfer", "dog", "dog"], "Ein Käfer.")
    assert data == before + keyword("dog")
    assert added == Added(("dog",))
    assert Block(data).without(added, None) == before


def test_a_block_that_names_another_encoding_gets_ascii_only():
    before = one(90, b"\x1b.A", record=1) + VERSION
    assert Block(before).with_ours(["Käfer", "dog"], None) == (before + keyword("dog"), Added(("dog",)))


def test_keywords_are_read_as_programs_read_them():
    assert Block(keyword("Grüße".encode("cp1252")) + keyword("é")).keywords == ("Grüße", "é")
    assert Block(UTF_8 + keyword(b"\xff")).keywords == ("\ufffd",)


def test_what_is_too_long_stays_out():
    exact, longer = "é" * (MOST_KEYWORD // 2), "é" * (MOST_KEYWORD // 2) + "e"
    data, added = Block(b"").with_ours([longer, exact], "x" * (MOST_CAPTION + 1))
    assert (Block(data).keywords, Block(data).caption, added.keywords) == ((exact,), None, (exact,))


def test_nothing_to_add_creates_nothing():
    assert Block(b"").with_ours(["e" * 65], None) == (b"", Added())
    assert Block(VERSION + keyword("dog")).with_ours(["dog"], None) == (VERSION + keyword("dog"), Added())


def test_a_caption_changed_by_others_stays():
    data, added = Block(b"").with_ours(["dog"], "A dog.")
    changed = data.replace(one(120, "A dog."), one(120, "My dog Rex"))
    assert Block(changed).without(added, "A dog.") == VERSION + one(120, "My dog Rex")


def test_a_block_that_others_extended_stays():
    data, added = Block(b"").with_ours(["dog"], None)
    assert Block(data + keyword("holiday")).without(added, None) == VERSION + keyword("holiday")


@pytest.mark.parametrize("damage", [b"\x1c\x02\x19\x40\x07holiday", b"no block", keyword("a") + b"\x1c\x02", b"\0\0x"])
def test_a_damaged_block_is_known(damage):
    assert not Block(damage).readable


def test_padding_and_long_values():
    long = b"\x1c\x02\x78\x80\x04" + (40_000).to_bytes(4, "big") + b"x" * 40_000
    before = VERSION + long + b"\0\0\0"
    block = Block(before)
    assert block.readable
    assert block.caption == "x" * 40_000
    data, added = block.with_ours(["dog"], "A dog.")
    assert data == VERSION + keyword("dog") + long + b"\0\0\0"
    assert Block(data).without(added, "A dog.") == before


PLACES = st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([0, 5, 25, 25, 25, 90, 120, 200]))


@given(
    st.lists(st.tuples(PLACES, st.one_of(st.binary(max_size=8), st.sampled_from([b"dog", b"\x1b%G"]))), max_size=8),
    st.lists(st.sampled_from(["dog", "Dog", "animal", "Käfer", "x" * 65, "狗"])),
    st.sampled_from([None, "A dog.", "Ein Käfer."]),
    st.integers(0, 3),
)
def test_additions_can_be_removed(sets, ours, caption, padding):
    """For any block, in any order of data sets, and any keywords."""
    before = b"".join(one(number, value, record) for (record, number), value in sets)
    before += bytes(padding) if before else b""
    block = Block(before)
    data, added = block.with_ours(ours, caption)
    assert Block(data).readable
    assert set(added.keywords) <= set(Block(data).keywords)
    assert Block(data).without(added, caption) == before
    again = Block(Block(data).without(added, caption)).with_ours(ours, caption)
    assert again == (data, added), "written twice, it is the same"
