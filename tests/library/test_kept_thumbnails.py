"""Stored thumbnails: made once from the current file, and deleted with it."""

from __future__ import annotations

import io
import re
import tarfile

import pytest
from fixtures_toy import plain, toy_recognizer
from PIL import Image

import anytag
from anytag.errors import PictureError, UsageError
from anytag.library.run import BatchRun
from anytag.pictures import find_pictures
from anytag.pictures.thumbnails import SIDE, thumbnail
from anytag.writers import contact_sheet
from anytag.writers.records import TagView


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    plain("red", (640, 480)).save(folder / "a.png")
    plain("lime", (30, 60)).save(folder / "b.png")
    (folder / "bad.jpg").write_text("no picture")
    return folder


@pytest.fixture
def recognizer(tmp_path):
    return toy_recognizer(tmp_path / "toy")


@pytest.fixture
def library(photos, recognizer):
    return anytag.Library(photos, recognizer)


def opened(jpeg):
    return Image.open(io.BytesIO(jpeg))


def number_of(library, name):
    [hit] = library.search(f"path:{name}").hits
    return hit.number


def kept(library):
    with library._open() as index:
        return len(index.thumbnails)


def test_a_thumbnail(photos):
    small = opened(thumbnail(photos / "a.png"))
    assert (small.format, small.size, SIDE) == ("JPEG", (320, 240), 320)
    assert small.getpixel((100, 100)) == (254, 0, 0)
    assert opened(thumbnail((photos / "b.png").read_bytes())).size == (30, 60)
    half = (photos / "a.png").read_bytes()
    assert opened(thumbnail(half[: len(half) // 2])).size == (320, 240)
    with pytest.raises(PictureError):
        thumbnail(photos / "bad.jpg")


def test_an_index_keeps_storing_them_until_told_otherwise(library, photos):
    library.update()
    assert kept(library) == 0
    assert opened(library.thumbnail(number_of(library, "a"))).size == (320, 240)  # Made on the spot.
    library.update(thumbnails=True)
    assert kept(library) == 2
    plain("blue").save(photos / "c.png")
    library.update()
    assert kept(library) == 3
    number = number_of(library, "a")
    (photos / "a.png").unlink()
    assert opened(library.thumbnail(number)).size == (320, 240)
    library.update()
    assert (kept(library), library.thumbnail(number)) == (2, None)
    library.update(thumbnails=False)
    assert kept(library) == 0
    library.update()
    assert kept(library) == 0


def test_another_picture_has_another_thumbnail(library, photos):
    library.update(thumbnails=True)
    plain("blue", (90, 90)).save(photos / "a.png")
    library.update()
    assert opened(library.thumbnail(number_of(library, "a"))).getpixel((0, 0)) == (0, 0, 254)
    assert kept(library) == 2


def test_no_flag(library):
    with pytest.raises(UsageError, match="thumbnails must be True or False, not 'yes'"):
        library.update(thumbnails="yes")


def test_a_contact_sheet_is_made_of_them(photos, recognizer, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        shard.add(photos / "a.png", "in.png")

    def run(keep):
        work = BatchRun(recognizer, {}, False, None, TagView(recognizer.vocabulary), (), ["html"], tmp_path / "out")
        with work.open() as known:
            work.scan(known, find_pictures([photos]), [str(photos)])
            work.recognize(known, [str(tmp_path / "shard.tar")], thumbnails=keep)
            work.write(known)
        sheet = (tmp_path / "out" / "contact-sheet.html").read_text()
        assert f'<span class="name">a.png</span><br><span class="soft">{photos}</span>' in sheet
        assert ' · <a href="#failures">1 not recognized</a></p>' in sheet
        return re.findall(r'<img [^>]* alt="([^"]*)"', sheet)

    files = [str(photos / "a.png"), str(photos / "b.png")]
    # A picture of an archive is read once; nothing is left to make a small one of.
    assert run(None) == files
    (tmp_path / "out" / "progress.sqlite").unlink()
    for left in (tmp_path / "out").iterdir():
        left.unlink()
    assert run(True) == [*files, f"{tmp_path / 'shard.tar'}/in"]
    monkeypatch.setattr(contact_sheet, "thumbnail", None)
    assert run(None) == [*files, f"{tmp_path / 'shard.tar'}/in"]
