"""A folder of photos with its index in it, moved, copied or mounted under another name."""

from __future__ import annotations

import os
import shutil

import pytest
from fixtures_toy import plain, toy_recognizer

import anytag


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    return toy_recognizer(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture
def photos(tmp_path, recognizer):
    folder = tmp_path / "Fotos für Oma"
    (folder / "in it").mkdir(parents=True)
    for name in ("red.png", "in it/lime.png"):
        plain(name.rpartition("/")[2].removesuffix(".png")).save(folder / name)
    anytag.Library(folder, recognizer).update(thumbnails=True)
    return folder


def found(folder, recognizer, query="-unicorn"):
    return sorted(os.path.relpath(hit.path, folder) for hit in anytag.Library(folder, recognizer).search(query).hits)


ALL = ["in it/lime.png", "red.png"]


@pytest.mark.parametrize("how", ["moved", "copied", "linked"])
def test_it_follows_the_photos(photos, recognizer, tmp_path, how):
    place = tmp_path / "new" / "Ümzug"
    place.parent.mkdir()
    {"moved": photos.rename, "copied": lambda to: shutil.copytree(photos, to), "linked": place.symlink_to}[how](
        photos if how == "linked" else place
    )
    assert found(place, recognizer) == ALL  # Also before the index is written again.
    library = anytag.Library(place, recognizer)
    [hit] = library.search("red").hits
    assert library.tags_of(hit.number).path == str(place / "red.png")
    done = library.update()
    assert (done.recognized, done.failed) == (0, 0)
    assert found(place, recognizer) == ALL
    assert found(place, recognizer, "path:Ümzug") == ALL
    assert found(place, recognizer, "path:Oma") == []
    assert library.thumbnail(hit.number) is not None
    assert library.edit(hit.number, ["Grandma"]).sidecar.path == place / "red.png.xmp"
    plain("blue").save(place / "blue.png")
    assert library.update().recognized == 1
    assert len(library) == 3


def test_pictures_indexed_under_the_new_path_are_not_duplicated(photos, recognizer, tmp_path):
    """Entries of the new path exist already, as in an index that does not follow moves."""
    place = tmp_path / "new"
    shutil.copytree(photos, place)
    library = anytag.Library(photos, recognizer)
    library.update([photos, place])
    assert len(library) == 4
    shutil.rmtree(place)
    photos.rename(place)
    library = anytag.Library(place, recognizer)
    assert library.update([place]).recognized == 0
    assert found(place, recognizer) == ALL


def test_photos_elsewhere_stay_where_they_are(photos, recognizer, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    plain("blue").save(other / "blue.png")
    anytag.Library(photos, recognizer).update([photos, other])
    place = tmp_path / "new"
    photos.rename(place)
    assert found(place, recognizer) == ["../other/blue.png", *ALL]
    plain("blue").save(other / "navy.png")
    assert anytag.Library(place, recognizer).update().recognized == 1


def test_an_index_elsewhere_keeps_its_paths(recognizer, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    plain("red").save(photos / "red.png")
    anytag.Library(tmp_path / "my.sqlite", recognizer).update([photos])
    (tmp_path / "there").mkdir()
    for file in tmp_path.glob("my.*"):
        file.rename(tmp_path / "there" / file.name)
    [hit] = anytag.Library(tmp_path / "there" / "my.sqlite", recognizer).search("red").hits
    assert hit.path == str(photos / "red.png")


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_folders_whose_names_are_no_text(photos, recognizer, tmp_path):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9t\xe9")
    os.rename(photos, place)  # noqa: PTH104
    library = anytag.Library(place, recognizer)
    assert library.update().recognized == 0
    assert {os.path.relpath(hit.path, place) for hit in library.search("-unicorn").hits} == set(ALL)
    assert library.update([place]).recognized == 0
    assert library.update().recognized == 0
