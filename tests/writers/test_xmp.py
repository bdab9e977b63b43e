"""XMP packets: anytag's entries are added beside others, and removed without a trace."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from conftest import require_program
from hypothesis import given
from hypothesis import strategies as st

from anytag.errors import XmpError
from anytag.writers.records import Provenance
from anytag.writers.xmp import Keyword, is_empty, remove, skeleton, update

MADE = Provenance("lite", "abc", "2026-01-02T03:04:05Z")
LATER = Provenance("lite", "def", "2027-01-02T03:04:05Z")
CAT = Keyword("cat", ("animal", "cat"), 0.98, "object")
SOFA = Keyword("red <sofa> & co", ("furniture", "red <sofa> & co"), 0.5, "object")

RDF = "xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'"
DC = "xmlns:dc='http://purl.org/dc/elements/1.1/'"

#: As other programs lay them out.
PACKETS = {
    "lightroom": f"""<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    {DC}
   xmp:Rating="4">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>holiday</rdf:li>
     <rdf:li>Cat</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>places|sea</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
""",
    "windows line ends, comments, quotes": f"""<?xml version="1.0"?>\r
<!-- a > b -->\r
<rdf:RDF {RDF}>\r
 <rdf:Description rdf:about='' {DC}>\r
  <dc:description><rdf:Alt><rdf:li xml:lang='x-default'>Grüße &amp; "more" &gt; less</rdf:li></rdf:Alt>\r
  </dc:description>\r
  <!-- <dc:subject> --><dc:subject><rdf:Seq><rdf:li>größe</rdf:li></rdf:Seq></dc:subject>\r
 </rdf:Description>\r
</rdf:RDF>\r
""",
    "another prefix": """<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:d="http://purl.org/dc/elements/1.1/"><r:Description r:about=""><d:subject><r:Bag>
 </r:Bag></d:subject></r:Description></r:RDF>""",
    "single tags": f"<rdf:RDF {RDF} {DC}><rdf:Description><dc:subject><rdf:Bag /></dc:subject></rdf:Description>"
    "</rdf:RDF>",
    "nothing in it": f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF {RDF}/></x:xmpmeta>",
    "a caption as an attribute": f"<rdf:RDF {RDF}><rdf:Description {DC} dc:description='mine'/></rdf:RDF>",
    "beyond the basic plane": f"<rdf:RDF {RDF}><rdf:Description {DC}><dc:subject><rdf:Bag><rdf:li>😀</rdf:li></rdf:Bag>"
    "</dc:subject><!-- 😀 --></rdf:Description></rdf:RDF>",
}


def packets():
    return pytest.mark.parametrize("packet", [text.encode() for text in PACKETS.values()], ids=PACKETS.keys())


def exiftool(path):
    """Return what exiftool reads, by group and name."""
    require_program("exiftool", "libimage-exiftool-perl")
    done = subprocess.run(
        ["exiftool", "-json", "-struct", "-G1", "-XMP:all", path], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)[0]


class TestRoundTrip:
    @packets()
    def test_what_was_there_comes_back_to_the_byte(self, packet):
        ours = update(packet, "a.xmp", [CAT, SOFA], "a cat on a sofa", MADE)
        assert ours != packet
        assert remove(ours, "a.xmp") == packet

    @packets()
    def test_updating_twice_is_updating_once(self, packet):
        once = update(packet, "a.xmp", [CAT, SOFA], "a cat", MADE)
        assert update(once, "a.xmp", [CAT, SOFA], "a cat", Provenance("lite", "abc", "2030-01-01T00:00:00Z")) == once
        again = update(once, "a.xmp", [SOFA], None, LATER)
        assert again == update(packet, "a.xmp", [SOFA], None, LATER)
        assert remove(again, "a.xmp") == packet

    @packets()
    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
    def test_in_every_encoding_that_xmp_knows(self, packet, encoding):
        packet = packet.decode().encode(encoding)
        ours = update(packet, "a.xmp", [CAT], "a cat", MADE)
        assert remove(ours, "a.xmp") == packet
        assert "cat" in ours.decode(encoding)

    @given(
        st.lists(
            st.text(
                st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"),
                min_size=1,
            ),
            max_size=4,
        ),
        st.lists(st.text(min_size=1), max_size=4),
    )
    def test_whatever_tags_are_called(self, theirs, ours):
        from xml.sax.saxutils import escape

        items = "".join(f"\n  <rdf:li>{escape(name)}</rdf:li>" for name in theirs)
        packet = (
            f"<rdf:RDF {RDF}><rdf:Description {DC}><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>"
            "</rdf:Description></rdf:RDF>"
        ).encode()
        keywords = [Keyword(name, (name,), 0.5, "object") for name in ours]
        with_ours = update(packet, "a.xmp", keywords, "".join(ours) or None, MADE)
        assert remove(with_ours, "a.xmp") == packet
        assert update(with_ours, "a.xmp", keywords, "".join(ours) or None, MADE) == with_ours

    def test_characters_that_xml_cannot_hold(self):
        """A control character in a category or caption would stop every XML parser."""
        odd = Keyword("a\x0bb\uffff\ud800\r", ("a\x0bb\uffff\ud800\r",), 0.5, "object")
        packet = update(skeleton(), "a.xmp", [odd], "one\x00two", MADE).decode()
        assert "<rdf:li>a\ufffdb\ufffd\ufffd\ufffd</rdf:li>" in packet
        assert "one\ufffdtwo" in packet

    def test_a_packet_with_only_our_entries_becomes_empty(self):
        assert is_empty(skeleton(), "a.xmp")
        ours = update(skeleton(), "a.xmp", [CAT], "a cat", MADE)
        assert not is_empty(ours, "a.xmp")
        assert remove(ours, "a.xmp") == skeleton()
        assert not is_empty(PACKETS["nothing in it"].encode(), "a.xmp")


class TestWhatPeopleWrote:
    def test_their_keywords_stay_and_ours_are_not_doubled(self, tmp_path):
        path = tmp_path / "a.xmp"
        path.write_bytes(update(PACKETS["lightroom"].encode(), "a.xmp", [CAT, SOFA], None, MADE))
        seen = exiftool(path)
        assert seen["XMP-dc:Subject"] == ["holiday", "Cat", "red <sofa> & co"]
        assert seen["XMP-lr:HierarchicalSubject"] == ["places|sea", "animal|cat", "furniture|red <sofa> & co"]
        assert seen["XMP-digiKam:TagsList"] == ["animal/cat", "furniture/red <sofa> & co"]
        assert seen["XMP-xmp:Rating"] == 4

    def test_their_caption_stays(self, tmp_path):
        for name in ("windows line ends, comments, quotes", "a caption as an attribute"):
            ours = update(PACKETS[name].encode(), "a.xmp", [], "a cat", MADE)
            (tmp_path / "a.xmp").write_bytes(ours)
            assert exiftool(tmp_path / "a.xmp")["XMP-dc:Description"] in ('Grüße & "more" > less', "mine")

    def test_our_entries_record_the_model(self, tmp_path):
        path = tmp_path / "a.xmp"
        path.write_bytes(update(skeleton(), "a.xmp", [CAT], "a cat", MADE))
        seen = exiftool(path)
        assert seen["XMP-dc:Description"] == "a cat"
        assert seen["XMP-anytag:Tags"] == [
            {
                "Name": "cat",
                "Score": 0.98,
                "Kind": "object",
                "Model": "lite",
                "Version": "abc",
                "Time": "2026:01:02 03:04:05Z",
            }
        ]

    def test_a_removed_keyword_stays_out(self):
        ours = update(skeleton(), "a.xmp", [CAT, SOFA], None, MADE).decode()
        subject = ours[ours.index("<dc:subject>") : ours.index("</dc:subject>")]
        edited = ours.replace(subject, subject.replace("<rdf:li>cat</rdf:li>", ""))
        for _ in range(2):
            edited = update(edited.encode(), "a.xmp", [CAT, SOFA], None, LATER).decode()
            subject = edited[edited.index("<dc:subject>") : edited.index("</dc:subject>")]
            assert "cat" not in subject
            assert "sofa" in subject

    def test_their_changes_to_our_caption_stay(self):
        ours = update(skeleton(), "a.xmp", [CAT], "a cat", MADE).decode()
        edited = ours.replace('x-default">a cat<', 'x-default">Minka<').encode()
        assert b"Minka" in remove(edited, "a.xmp")
        assert b"Minka" in update(edited, "a.xmp", [CAT], "a dog", LATER)

    def test_after_exiftool_has_rewritten_the_file(self, tmp_path):
        """It reformats everything; anytag's entries can still be removed, and others stay."""
        path = tmp_path / "a.xmp"
        path.write_bytes(update(PACKETS["lightroom"].encode(), "a.xmp", [CAT, SOFA], "a cat", MADE))
        require_program("exiftool", "libimage-exiftool-perl")
        subprocess.run(
            [shutil.which("exiftool"), "-q", "-overwrite_original", "-XMP-dc:Subject+=mine", path], check=True
        )
        path.write_bytes(remove(path.read_bytes(), "a.xmp"))
        seen = exiftool(path)
        assert sorted(seen["XMP-dc:Subject"]) == ["Cat", "holiday", "mine"]
        assert seen["XMP-lr:HierarchicalSubject"] == ["places|sea"]
        assert "XMP-dc:Description" not in seen
        assert not any("anytag" in name or "digiKam" in name for name in seen)


class TestWhatIsNoXmp:
    @pytest.mark.parametrize(
        ("packet", "message"),
        [
            (b"", "a.xmp: not an XMP file (no element found: line 1, column 0); repair or remove it"),
            (b"\xff\xd8\xff", "a.xmp: not valid utf-8"),
            (b"<a/>", "a.xmp: XML, but without rdf:RDF, so not an XMP file; it is left as it is"),
            (
                b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
                "a.xmp: has a document type (DOCTYPE), which XMP does not know",
            ),
            (f"<rdf:RDF {RDF}>".encode(), "a.xmp: not an XMP file (no element found"),
        ],
    )
    def test_it_is_reported_and_left_alone(self, packet, message):
        for change in (lambda: update(packet, "a.xmp", [CAT], None, MADE), lambda: remove(packet, "a.xmp")):
            with pytest.raises(XmpError) as raised:
                change()
            assert str(raised.value).startswith(message)
