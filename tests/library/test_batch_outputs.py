"""What batches write: sidecars that lose nothing of others, and tables and databases beside those of others."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import require_module
from fixtures_batch import batch, fixed_time, lines, photos, recognizer

from anytag.errors import LibraryError
from anytag.library.entries import FileIdentity
from anytag.library.outputs import write_outputs
from anytag.library.progress import Progress
from anytag.library.run import PROGRESS_FILE
from anytag.library.untag import untag, untag_written
from anytag.pictures import find_pictures
from anytag.writers.records import TagView
from anytag.writers.text_sidecars import TextSidecars
from anytag.writers.xmp_sidecars import XmpSidecars

# Fixtures, which tests ask for by name.
__all__ = ["batch", "fixed_time", "photos", "recognizer"]


class TestTextSidecars:
    def test_tags_in_one_line(self, batch, photos):
        batch(sidecars=[TextSidecars(prefix="trigger")], caption=False)
        assert (photos / "red.txt").read_text() == "trigger, red, animal, dog\n"

    def test_what_people_wrote_is_refused_kept_or_added_to(self, batch, photos, tmp_path):
        (photos / "red.txt").write_text("my Dog, holiday")
        _, done = batch(sidecars=[TextSidecars()])
        assert done.sidecar_problems == 1
        assert (photos / "red.txt").read_text() == "my Dog, holiday"
        assert "--append adds tags" in lines(tmp_path / "out" / "failures.jsonl")[1]["error"]["message"]
        batch(sidecars=[TextSidecars(existing="keep")])
        assert (photos / "red.txt").read_text() == "my Dog, holiday"
        batch(sidecars=[TextSidecars(existing="append")])
        assert (photos / "red.txt").read_text() == "my Dog, holiday, red, animal, dog\n"

    def test_another_model_replaces_ours_and_keeps_theirs(self, batch, photos):
        (photos / "red.txt").write_text("holiday")
        batch(sidecars=[TextSidecars(existing="append")])
        batch(sidecars=[TextSidecars(existing="append")], asked={"top": 1})
        assert (photos / "red.txt").read_text() == "holiday, red\n"

    def test_two_pictures_that_want_one_file(self, batch, photos, tmp_path):
        shutil.copy(photos / "red.png", photos / "red.gif")
        _, done = batch(sidecars=[TextSidecars()])
        assert done.sidecar_problems == 1
        message = lines(tmp_path / "out" / "failures.jsonl")[-1]["error"]["message"]
        assert message == f"{photos}/red.txt: belongs to {photos}/red.gif, and two pictures cannot share it"

    def test_undone_to_the_byte(self, batch, photos, tmp_path):
        (photos / "red.txt").write_bytes(b"holiday\r\n")
        before = {path.name: path.read_bytes() for path in photos.iterdir()}
        batch(sidecars=[TextSidecars(existing="append")])
        (photos / "blue.txt").write_text("changed since")
        with closing(Progress(tmp_path / "out" / PROGRESS_FILE)) as known:
            undone = {Path(one.path).name: one.change for one in untag_written(known)}
        assert undone == {"red.txt": "restored", "lime.txt": "deleted", "blue.txt": "failed"}
        (photos / "blue.txt").unlink()
        assert {path.name: path.read_bytes() for path in photos.iterdir()} == before


class TestXmpSidecars:
    def test_written_read_and_undone(self, batch, photos, recognizer):
        view = TagView(recognizer.vocabulary)
        before = {path.name: path.read_bytes() for path in photos.iterdir()}
        times = {path.name: FileIdentity.of(path) for path in photos.iterdir()}
        batch(sidecars=[XmpSidecars(view)], caption=True)
        assert (photos / "red.png.xmp").exists()
        assert {path.name: FileIdentity.of(path) for path in photos.iterdir() if path.suffix != ".xmp"} == times
        assert {one.change for one in untag(find_pictures([photos]))} == {"deleted"}
        assert {path.name: path.read_bytes() for path in photos.iterdir()} == before

    def test_a_sidecar_that_is_there_is_used_and_a_broken_one_left_alone(self, batch, photos, recognizer, tmp_path):
        (photos / "lime.xmp").write_text("no XML")
        rdf = "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'/>"
        (photos / "red.xmp").write_text(rdf)
        _, done = batch(sidecars=[XmpSidecars(TagView(recognizer.vocabulary))])
        assert done.sidecar_problems == 1
        assert (photos / "lime.xmp").read_text() == "no XML"
        assert "<anytag:Name>dog</anytag:Name>" in (photos / "red.xmp").read_text()
        assert not (photos / "red.png.xmp").exists()
        list(untag(find_pictures([photos])))
        assert (photos / "red.xmp").read_text() == rdf

    def test_a_folder_that_cannot_be_written(self, batch, photos, recognizer, tmp_path, monkeypatch):
        def refuse(target, data):
            raise PermissionError(13, "Permission denied", str(target))

        monkeypatch.setattr("anytag.library.batch.replace_file", refuse)
        _, done = batch(sidecars=[XmpSidecars(TagView(recognizer.vocabulary))])
        assert (done.recognized, done.sidecar_problems) == (3, 3)
        message = lines(tmp_path / "out" / "failures.jsonl")[1]["error"]["message"]
        assert message == f"{photos}/blue.png.xmp: cannot be written (Permission denied)"
        monkeypatch.undo()
        _, done = batch(sidecars=[XmpSidecars(TagView(recognizer.vocabulary))])
        assert (done.recognized, done.sidecars) == (0, 3)


class TestTagView:
    def test_specific_tags_limits_and_paths(self, recognizer, photos):
        seen = recognizer.tag(photos / "red.png")
        from anytag.writers.records import PictureRecord, Provenance

        record = PictureRecord("a", seen, Provenance("toy", "1", "now"))
        vocabulary = recognizer.vocabulary

        def names(*options):
            return [tag.name for tag in TagView(vocabulary, *options)(record).tags]

        assert names() == ["red", "animal", "dog"]
        assert names("specific") == ["red", "dog"]
        assert names("all", 1) == ["red", "animal"]
        dog = next(tag for tag in seen.tags if tag.name == "dog")
        assert TagView(vocabulary).path(dog) == ("animal", "dog")


def test_outputs_are_rewritten_from_the_record(batch, recognizer, tmp_path):
    batch(tables=("html", "csv"))
    for name in ("contact-sheet.html", "tags.csv"):
        (tmp_path / "out" / name).unlink()
    with closing(Progress(tmp_path / "out" / PROGRESS_FILE)) as known:
        written = write_outputs(known, ["html", "csv"], tmp_path / "out", TagView(recognizer.vocabulary))
    assert [path.name for path in written] == ["contact-sheet.html", "tags.csv", "failures.jsonl"]


@pytest.mark.parametrize("name", ["tags.csv", "failures.jsonl", "contact-sheet.html"])
def test_files_of_others_are_never_written_over(batch, recognizer, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(LibraryError, match=rf"{name}: already exists and was not written by this batch; move it"):
        batch(tables=("csv", "html"))
    assert (recognizer.backend.encoded, (tmp_path / "out" / name).read_text()) == (0, "mine")
    (tmp_path / "out" / name).unlink()
    batch(tables=("csv", "html"))
    batch(tables=("csv", "html"))  # Its own, it makes anew.
    assert (tmp_path / "out" / name).read_text() != "mine"


def test_databases_of_others_are_left_alone(tmp_path):
    path = tmp_path / "catalog.sqlite"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE photos (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(LibraryError, match=r"catalog\.sqlite: a database of another program; it is left as it is"):
        Progress(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("table", ["jsonl", "csv", "parquet", "html", "coco", "label-studio", "fiftyone"])
def test_texts_that_are_not_utf8_are_escaped(batch, recognizer, tmp_path, table):
    """Text from a command line in Latin-1 does not stop any table or sidecar."""
    if table == "parquet":
        require_module("pyarrow")
    view = TagView(recognizer.vocabulary)
    strange = ["\udce9t\udce9"]
    sidecars = (XmpSidecars(view), TextSidecars(prefix="\udce9"))
    _, done = batch(sidecars, (table,), asked={"categories": strange, "threshold": 0})
    assert (done.recognized, done.sidecars, done.sidecar_problems) == (3, 6, 0)
    assert (tmp_path / "photos" / "red.txt").read_text() == "\\udce9, \\udce9t\\udce9\n"
    assert "\\udce9t" in (tmp_path / "photos" / "red.png.xmp").read_text()
    if table == "jsonl":
        assert lines(tmp_path / "out" / "tags.jsonl")[0]["tags"][0]["name"] == strange[0]
