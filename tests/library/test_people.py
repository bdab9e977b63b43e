"""Keywords of people: stored in sidecars, found by searches, and never lost or mixed up with the model's tags."""

from __future__ import annotations

import os

import pytest
from fixtures_toy import plain_folder, toy_recognizer

from anytag.errors import LibraryError, SidecarError, UsageError, XmpError
from anytag.library.people import checked_keywords
from anytag.library.photo_library import Library
from anytag.library.search import Reason
from anytag.library.untag import untag


@pytest.fixture
def library(tmp_path):
    made = Library(plain_folder(tmp_path / "photos"), toy_recognizer(tmp_path / "toy"))
    made.update()
    return made


def names(library, query):
    return [os.path.basename(hit.path) for hit in library.search(query).hits]  # noqa: PTH119


def number(library, name):
    return next(hit.number for hit in library.search(f"path:{name}").hits)


def test_what_people_say_is_found(library):
    red = number(library, "red")
    seen = library.edit(red, ["Grandma", "beach"], ["dog"])
    assert seen.sidecar.people == ("Grandma", "beach")
    assert seen.sidecar.refused == {"dog"}
    assert seen.sidecar.path.name == "red.png.xmp"
    assert [tag.name for tag in seen.tags] == ["red", "animal", "dog"]
    assert names(library, "grandma") == ["red.png"]
    assert names(library, "dog") == []
    assert library.search("grandma").hits[0].reasons == (Reason("Grandma", 1.0, "people"),)
    # A word that the model knows is the model's tag, and people are certain.
    assert library.search("beach").hits[0].reasons == (Reason("beach", 1.0, "scene"),)
    assert ("Grandma", 1) in library.facets()


def test_minds_may_change(library):
    red = number(library, "red")
    library.edit(red, ["Grandma"], ["dog"])
    seen = library.edit(red, [], [])
    assert (seen.sidecar.people, seen.sidecar.refused) == ((), frozenset())
    assert names(library, "dog") == ["red.png"]
    assert library.search("grandma").unknown == ("grandma",)


def test_it_outlives_a_new_index(library, tmp_path):
    library.edit(number(library, "red"), ["Grandma"], ["dog"])
    photos = library.path.parent.parent
    library.path.unlink()
    again = Library(photos, toy_recognizer(tmp_path / "again"))
    again.update()
    assert names(again, "grandma") == ["red.png"]
    assert names(again, "dog") == []


def test_it_outlives_untag(library):
    seen = library.edit(number(library, "red"), ["Grandma"], ["dog"])
    assert [undone.change for undone in untag([library.path.parent.parent / "red.png"])] == ["changed"]
    text = seen.sidecar.path.read_text()
    assert "Grandma" in text
    assert "animal" not in text


def test_a_concurrent_edit_is_not_overwritten(library):
    red = number(library, "red")
    first = library.tags_of(red)
    assert first.sidecar.revision == ""
    second = library.edit(red, ["Grandma"], revision=first.sidecar.revision)
    with pytest.raises(SidecarError, match=r"red.png.xmp: was changed by somebody else"):
        library.edit(red, ["Grandpa"], revision=first.sidecar.revision)
    assert library.edit(red, ["Grandpa"], revision=second.sidecar.revision).sidecar.people == ("Grandpa",)


def test_keywords_of_other_programs_are_kept_as_they_are(library):
    place = library.path.parent.parent / "red.png.xmp"
    place.write_text(
        "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about='' "
        "xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:subject><rdf:Bag><rdf:li> sea\n side</rdf:li></rdf:Bag>"
        "</dc:subject><!-- mine --></rdf:Description></rdf:RDF>"
    )
    red = number(library, "red")
    seen = library.edit(red, [*library.tags_of(red).sidecar.people, "Grandma"])
    assert seen.sidecar.people == (" sea\n side", "Grandma")
    assert "<rdf:li> sea\n side</rdf:li>" in place.read_text()
    assert "<!-- mine -->" in place.read_text()


def test_what_cannot_be_edited(library):
    red, photos = number(library, "red"), library.path.parent.parent
    assert library.tags_of(999) is None
    assert library.edit(999, []) is None
    (photos / "red.png.xmp").write_text("no xmp")
    with pytest.raises(XmpError, match=r"red.png.xmp: not an XMP file"):
        library.edit(red, ["Grandma"])
    assert (photos / "red.png.xmp").read_text() == "no xmp"
    assert library.tags_of(red).sidecar.people == ()
    (photos / "red.png").unlink()
    with pytest.raises(SidecarError, match=r"red.png: no longer exists"):
        library.edit(red, ["Grandma"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([" "], "a tag is empty"),
        (["a\nb"], "no line breaks or control characters"),
        (["a\0"], "no line breaks or control characters"),
        (["\ud800"], "no line breaks or control characters"),
        (["x" * 201], "a tag has at most 200 characters"),
        ([str(n) for n in range(501)], "501 tags; a picture can have at most 500"),
    ],
)
def test_invalid_keywords(given, message):
    with pytest.raises(UsageError, match=message):
        checked_keywords(given)


def test_keywords_are_given_once():
    assert checked_keywords([" sea ", "Sea", "größe", "👩‍🚀"]) == ("sea", "größe", "👩‍🚀")


def test_an_index_that_cannot_be_written(library, monkeypatch):
    import sqlite3

    from anytag.library.index import Index

    def full(self, number):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Index, "read_people", full)
    red = number(library, "red")
    with pytest.raises(LibraryError, match=r"cannot be written \(database or disk is full\); the sidecar is"):
        library.edit(red, ["Grandma"])
    assert library.tags_of(red).sidecar.people == ("Grandma",)
