"""XMP and IPTC inside pictures: both agree, people's keywords stay, and anytag's can be removed without a trace."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import replace

import pytest
from conftest import require_program
from PIL import Image

from anytag.errors import SidecarError
from anytag.recognition import Recognition, Tag
from anytag.writers import embedded
from anytag.writers.embedded import EmbeddedMetadata, remove_embedded
from anytag.writers.records import PictureRecord, Provenance

MADE = Provenance("lite", "abc", "2026-01-02T03:04:05Z")


@pytest.fixture(autouse=True)
def _exiftool():
    require_program("exiftool", "libimage-exiftool-perl")


class View:
    """Tags without parents."""

    def path(self, tag):
        return (tag.name,)


def writer(iptc=False):
    return EmbeddedMetadata(View(), iptc)


def record(picture, *names, caption=None):
    tags = tuple(Tag(name, 0.9, "object", 0.5) for name in names)
    return PictureRecord(str(picture), Recognition(str(picture), tags, caption), MADE)


def exiftool(*arguments):
    return subprocess.run(["exiftool", *map(str, arguments)], capture_output=True, text=True, check=True).stdout


#: What a person's program writes, for keywords that are the same in both or stand in IPTC alone.
IPTC = ("-IPTC:Keywords=holiday", "-IPTC:Keywords=Dog", "-IPTC:City=Ulm", "-IPTCDigest=new")
BOTH = (*IPTC, "-XMP-dc:Subject=holiday", "-XMP-dc:Subject=Dog")


def picture(folder, *arguments, name="red.jpg"):
    """A picture with metadata of another program."""
    path = folder / name
    Image.new("RGB", (16, 16), "red").save(path)
    if arguments:
        exiftool("-q", "-m", "-overwrite_original", *arguments, path)
    return path


def seen(path):
    """What exiftool reads."""
    asked = ["IPTC:Keywords", "XMP-dc:Subject", "IPTC:Caption-Abstract", "XMP-dc:Description", "IPTC:City"]
    asked += ["IPTC:CodedCharacterSet", "Photoshop:IPTCDigest", "File:CurrentIPTCDigest"]
    [found] = json.loads(exiftool("-j", "-m", "-G1", *(f"-{name}" for name in asked), path))
    del found["SourceFile"]
    return {name.partition(":")[2]: value for name, value in found.items()}


@pytest.mark.parametrize("theirs", [IPTC, BOTH], ids=["IPTC alone", "both"])
def test_where_there_is_iptc_the_two_agree(tmp_path, theirs):
    path = picture(tmp_path, *theirs)
    before, then = path.read_bytes(), path.stat().st_mtime_ns
    given = record(path, "dog", "animal", "x" * 65, caption="A dog.")
    assert writer().write(given)
    found = seen(path)
    assert found["Keywords"] == ["holiday", "Dog", "animal"]
    # Programs that find keywords in XMP show no others: people's own would seem lost.
    assert found["Subject"] == ["holiday", "Dog", "animal", "x" * 65]
    assert found["Caption-Abstract"] == found["Description"] == "A dog."
    assert found["City"] == "Ulm"
    assert found["IPTCDigest"] == found["CurrentIPTCDigest"]
    assert path.stat().st_mtime_ns == then
    written = path.read_bytes()
    assert not writer().write(given), "nothing is new"
    assert path.read_bytes() == written
    assert remove_embedded(path)
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == then
    assert not remove_embedded(path)


def test_new_tags_replace_our_old_ones(tmp_path):
    path = picture(tmp_path, *IPTC)
    before = path.read_bytes()
    writer().write(record(path, "animal", "grass"))
    writer().write(record(path, "animal", "Käfer"))
    found = seen(path)
    assert found["Keywords"] == ["holiday", "Dog", "animal", "Käfer"]
    assert found["Subject"] == ["holiday", "Dog", "animal", "Käfer"]
    assert found["CodedCharacterSet"] == "UTF8"
    remove_embedded(path)
    assert path.read_bytes() == before


def test_without_iptc_none_is_begun_unless_it_is_wanted(tmp_path):
    path = picture(tmp_path)
    before = path.read_bytes()
    writer().write(record(path, "dog"))
    assert seen(path) == {"Subject": "dog"}
    assert writer(iptc=True).write(record(path, "dog", caption="A dog."))
    found = seen(path)
    assert (found["Keywords"], found["Subject"], found["CodedCharacterSet"]) == ("dog", "dog", "UTF8")
    assert found["Caption-Abstract"] == "A dog."
    assert found["IPTCDigest"] == found["CurrentIPTCDigest"]
    # A block that we began is kept in step without being asked for again.
    writer().write(record(path, "cat"))
    found = seen(path)
    assert (found["Keywords"], found["Subject"]) == ("cat", "cat")
    assert found["IPTCDigest"] == found["CurrentIPTCDigest"]
    remove_embedded(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_other_formats(tmp_path, suffix):
    path = picture(tmp_path, *IPTC[:-1], name=f"red.{suffix}")
    before = embedded.Metadata.read(path)
    writer().write(record(path, "animal", "grass"))
    assert seen(path)["Keywords"] == ["holiday", "Dog", "animal", "grass"]
    writer().write(record(path, "animal"))
    assert seen(path)["Keywords"] == ["holiday", "Dog", "animal"]
    remove_embedded(path)
    assert embedded.Metadata.read(path) == before
    with Image.open(path) as opened:
        assert opened.convert("RGB").getpixel((3, 3)) == (255, 0, 0)


def test_the_digest_of_a_tiff_is_right(tmp_path):
    path = picture(tmp_path, *IPTC, name="red.tif")
    for names in (["a"], ["ab"], ["abc"], ["abcd"]):
        writer().write(record(path, *names))
        found = seen(path)
        assert found["IPTCDigest"] == found["CurrentIPTCDigest"]


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_iptc_is_created_only_where_programs_read_it(tmp_path, suffix):
    path = picture(tmp_path, name=f"red.{suffix}")
    writer(iptc=True).write(record(path, "dog"))
    assert seen(path) == {"Subject": "dog"}


def test_a_digest_that_was_wrong_stays_wrong(tmp_path):
    """An older program changed the block after XMP, which other programs must be able to detect."""
    path = picture(tmp_path, *BOTH)
    exiftool("-q", "-overwrite_original", "-IPTC:Keywords+=newer", path)
    before, digest = path.read_bytes(), seen(path)["IPTCDigest"]
    writer().write(record(path, "animal"))
    found = seen(path)
    assert found["IPTCDigest"] == digest != found["CurrentIPTCDigest"]
    assert found["Keywords"] == ["holiday", "Dog", "newer", "animal"]
    remove_embedded(path)
    assert path.read_bytes() == before


def test_a_block_without_a_digest_gets_none(tmp_path):
    path = picture(tmp_path, *BOTH[:3], *BOTH[4:])
    before = path.read_bytes()
    writer().write(record(path, "animal"))
    assert "IPTCDigest" not in seen(path)
    remove_embedded(path)
    assert path.read_bytes() == before


def test_a_block_in_latin_1_stays_in_latin_1(tmp_path):
    path = picture(tmp_path, "-charset", "iptc=latin", "-IPTC:Keywords=Grüße")
    before = path.read_bytes()
    writer().write(record(path, "dog", "Käfer"))
    found = seen(path)
    assert found["Keywords"] == ["Grüße", "dog"]
    assert found["Subject"] == ["Grüße", "dog", "Käfer"]
    assert "CodedCharacterSet" not in found
    remove_embedded(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "taken",
    [("-IPTC:Keywords-=animal",), ("-XMP-dc:Subject-=animal",), ("-IPTC:Keywords-=animal", "-XMP-dc:Subject-=animal")],
)
def test_a_tag_removed_from_either_stays_out_of_both(tmp_path, taken):
    path = picture(tmp_path, *BOTH)
    writer().write(record(path, "animal", "grass"))
    exiftool("-q", "-overwrite_original", *taken, path)
    for _ in range(2):
        writer().write(record(path, "animal", "grass", "tree"))
        found = seen(path)
        assert found["Keywords"] == ["holiday", "Dog", "grass", "tree"]
        assert sorted(found["Subject"]) == ["Dog", "grass", "holiday", "tree"]


def test_a_keyword_that_others_removed_from_xmp_is_not_copied_again(tmp_path):
    path = picture(tmp_path, *IPTC)
    writer().write(record(path, "animal"))
    exiftool("-q", "-overwrite_original", "-XMP-dc:Subject-=holiday", path)
    writer().write(record(path, "grass"))
    assert seen(path)["Subject"] == ["Dog", "grass"]


def test_a_keyword_of_others_left_only_in_xmp_stays(tmp_path):
    path = picture(tmp_path, *IPTC)
    writer().write(record(path, "animal"))
    exiftool("-q", "-overwrite_original", "-IPTC:Keywords-=holiday", path)
    remove_embedded(path)
    assert seen(path)["Subject"] == "holiday"
    assert seen(path)["Keywords"] == "Dog"


def test_their_caption_in_iptc_is_not_hidden(tmp_path):
    path = picture(tmp_path, *IPTC[:1], "-IPTC:Caption-Abstract=Rex at the sea")
    before = path.read_bytes()
    writer().write(record(path, "animal", caption="A dog."))
    found = seen(path)
    assert (found["Caption-Abstract"], found.get("Description")) == ("Rex at the sea", None)
    remove_embedded(path)
    assert path.read_bytes() == before


def test_their_caption_in_xmp_is_left_alone_in_both(tmp_path):
    path = picture(tmp_path, *BOTH, "-XMP-dc:Description=Rex")
    before = path.read_bytes()
    writer().write(record(path, "animal", caption="A dog."))
    found = seen(path)
    assert (found.get("Caption-Abstract"), found["Description"]) == (None, "Rex")
    remove_embedded(path)
    assert path.read_bytes() == before


def test_a_damaged_block_is_left_alone(tmp_path):
    path = picture(tmp_path, *IPTC)
    data = path.read_bytes()
    place = data.index(b"holiday")
    path.write_bytes(data[: place - 2] + b"\x40" + data[place - 1 :])
    before = path.read_bytes()
    writer(iptc=True).write(record(path, "animal"))
    assert exiftool("-m", "-s3", "-XMP-dc:Subject", path) == "animal\n"
    assert embedded.Metadata.read(path).iptc.startswith(b"\x1c\x02\x19\x40")
    remove_embedded(path)
    assert path.read_bytes() == before


def test_both_are_written_at_once_or_not_at_all(tmp_path, monkeypatch):
    """If exiftool is killed before it renames its copy, the picture is unchanged, and the next run succeeds."""
    path = picture(tmp_path, *BOTH)
    before = path.read_bytes()
    copy = path.with_name("red.jpg_exiftool_tmp")
    copy.write_bytes(before[:100])
    hour = time.time() - 3600
    os.utime(copy, (hour, hour))
    assert writer().write(record(path, "animal"))
    assert not copy.exists()
    assert seen(path)["Keywords"][-1] == "animal"
    # One that is being written to is waited for.
    monkeypatch.setattr(embedded, "_STALE_AFTER", 0.3)
    copy.write_bytes(b"fresh")
    assert remove_embedded(path)
    assert path.read_bytes() == before
    # A clock that is wrong keeps nobody waiting for ever.
    copy.write_bytes(b"from tomorrow")
    os.utime(copy, (time.time() + 86400, time.time() + 86400))
    assert writer().write(record(path, "animal"))


def test_what_exiftool_cannot_write(tmp_path):
    path = tmp_path / "red.jpg"
    path.write_bytes(b"no picture")
    with pytest.raises(SidecarError, match=rf"^{path}: exiftool could not do it \(Error: "):
        writer().write(record(path, "dog"))
    assert path.read_bytes() == b"no picture"


def test_a_link_stays_a_link(tmp_path):
    path = picture(tmp_path, *IPTC)
    before, link = path.read_bytes(), tmp_path / "link.jpg"
    link.symlink_to(path.name)
    writer().write(record(link, "animal"))
    assert link.is_symlink()
    assert seen(path)["Keywords"] == ["holiday", "Dog", "animal"]
    remove_embedded(link)
    assert link.is_symlink()
    assert path.read_bytes() == before


def test_names_like_options_and_other_letters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = picture(tmp_path, *IPTC, name="-größe $1 (2).jpg")
    writer().write(record(path.name, "animal"))
    assert seen(path)["Keywords"] == ["holiday", "Dog", "animal"]
    assert list(writer().plan([path.name])) == [f"{path.name}: XMP and IPTC inside"]


def test_a_plan_lists_what_is_written_where(tmp_path):
    """One run of exiftool inspects all pictures; a file that is not a picture has no block."""
    have, none, web = picture(tmp_path, *IPTC), picture(tmp_path, name="plain.jpg"), picture(tmp_path, name="a.webp")
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    pictures = [str(path) for path in (have, none, web, bad)]
    inside = {False: "XMP inside", True: "XMP and IPTC inside"}
    for iptc, both in ((False, (True, False, False, False)), (True, (True, True, False, True))):
        said = [f"{path}: {inside[with_iptc]}" for path, with_iptc in zip(pictures, both, strict=True)]
        assert list(writer(iptc).plan(pictures)) == said
    assert list(writer().plan([])) == []


def test_sidecars_record_nothing_about_iptc(tmp_path):
    """XMP sidecars record nothing about IPTC."""
    path = picture(tmp_path, *IPTC)
    before = path.read_bytes()
    given = record(path)
    writer().write(replace(given, recognition=replace(given.recognition, caption=None)))
    assert seen(path)["Keywords"] == ["holiday", "Dog"]
    remove_embedded(path)
    assert path.read_bytes() == before
