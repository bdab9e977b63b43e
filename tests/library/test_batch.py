"""Batches over folders: only new pictures are done, nothing is lost or done twice, and one batch runs at a time."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from fixtures_batch import batch, fixed_time, lines, photos, recognizer
from fixtures_toy import edit_config, plain
from PIL import Image

from anytag.errors import LibraryError, UsageError
from anytag.library.progress import Progress
from anytag.library.run import PROGRESS_FILE, BatchRun
from anytag.model.directory import ModelDirectory
from anytag.writers.records import TagView
from anytag.writers.text_sidecars import TextSidecars
from anytag.writers.xmp_sidecars import XmpSidecars

# Fixtures, which tests ask for by name.
__all__ = ["batch", "fixed_time", "photos", "recognizer"]


class TestResuming:
    def test_results_in_order_of_paths_and_failures_apart(self, batch, photos, tmp_path):
        found, done = batch()
        assert (found.new, done.recognized, done.failed) == (4, 3, 1)
        written = lines(tmp_path / "out" / "tags.jsonl")
        assert [record["path"] for record in written] == [str(photos / f"{n}.png") for n in ("blue", "lime", "red")]
        assert [tag["name"] for tag in written[2]["tags"]] == ["red", "animal", "dog"]
        assert (written[2]["model"], written[2]["time"]) == ("toy", "2026-01-02T03:04:05Z")
        [failure] = lines(tmp_path / "out" / "failures.jsonl")
        assert (failure["path"], failure["error"]["kind"]) == (str(photos / "bad.jpg"), "not_a_picture")

    def test_a_second_run_does_nothing(self, batch, recognizer, tmp_path):
        batch()
        before = (tmp_path / "out" / "tags.jsonl").read_bytes()
        found, done = batch()
        assert (found.known, found.failed_before, done.recognized, done.failed) == (3, 1, 0, 0)
        assert recognizer.backend.encoded == 3
        assert (tmp_path / "out" / "tags.jsonl").read_bytes() == before

    def test_only_new_and_changed_pictures_are_done(self, batch, photos, recognizer):
        batch()
        plain("lime", (9, 9)).save(photos / "red.png")
        plain("red").save(photos / "another.png")
        found, done = batch()
        assert (found.new, found.changed, found.known, done.recognized) == (1, 1, 2, 2)

    def test_a_limit_and_the_rest_later(self, batch):
        assert batch(limit=2)[1].recognized + batch(limit=9)[1].recognized == 3

    def test_other_settings_do_it_again_and_are_named(self, batch):
        batch()
        found, done = batch(asked={"threshold": 0.9})
        assert (found.redone, sum(found.other_settings.values()), done.recognized) == (3, 3, 3)

    @pytest.mark.parametrize(
        ("asked", "caption"),
        [
            ({}, False),
            ({"top": 1}, False),
            ({"threshold": 0.0}, False),
            ({"categories": ("dog", "red")}, False),
            ({}, True),
            ({"threshold": 0.0}, True),
        ],
    )
    def test_of_blank_pictures_it_keeps_what_tag_and_caption_keep(
        self, batch, recognizer, photos, tmp_path, asked, caption
    ):
        recognizer.recognize_blank = False
        batch(asked=asked, caption=caption)
        ask = recognizer.caption if caption else recognizer.tag
        kept = {"tags", "caption", "notes"}
        records = lines(tmp_path / "out" / "tags.jsonl")
        for record in records:
            alone = ask(record["path"], **asked).to_json()
            assert {name: record.get(name) for name in kept} == {name: alone.get(name) for name in kept}
        assert any(record["tags"] for record in records) == ("threshold" in asked or "categories" in asked)

    def test_captions_come_with_the_tags_found_and_with_no_others(self, batch, tmp_path):
        with pytest.raises(UsageError, match="--caption and --categories exclude each other"):
            batch(asked={"categories": ["dog"]}, caption=True)
        assert not (tmp_path / "out").exists()

    def test_another_model_does_it_again(self, batch, recognizer):
        batch()
        edit_config(recognizer.directory.path, name="toy 2")
        recognizer.directory = ModelDirectory(recognizer.directory.path)  # As it is when loaded again.
        found, done = batch()
        assert (found.redone, done.recognized) == (3, 3)

    def test_failures_are_retried_on_request_or_when_the_file_changed(self, batch, photos, tmp_path):
        batch()
        assert batch()[1].failed == 0
        assert batch(retry_failed=True)[1].failed == 1
        plain("red").save(photos / "bad.jpg")
        assert batch()[1].recognized == 1
        assert not (tmp_path / "out" / "failures.jsonl").exists()

    def test_what_is_gone_is_forgotten(self, batch, photos, tmp_path):
        batch()
        (photos / "red.png").unlink()
        assert batch()[0].gone == 1
        assert len(lines(tmp_path / "out" / "tags.jsonl")) == 2

    def test_moved_pictures_are_known_by_content(self, batch, photos, recognizer):
        batch(by_content=True)
        (photos / "inside").mkdir()
        (photos / "red.png").rename(photos / "inside" / "moved.png")
        shutil.copy(photos / "lime.png", photos / "copy.png")
        found, done = batch(by_content=True)
        assert (found.copied, found.moved, found.gone, done.recognized) == (1, 1, 0, 0)
        assert recognizer.backend.encoded == 3

    def test_moved_pictures_are_forgotten_at_their_old_path(self, batch, photos, tmp_path):
        """Also outside of the scanned folders, and if a copy still exists."""
        batch(by_content=True)
        shutil.copy(photos / "red.png", photos / "copy.png")
        batch(by_content=True)
        (photos / "red.png").rename(photos / "z.png")
        found, done = batch(by_content=True)
        assert (found.moved, found.copied, found.gone, done.recognized) == (1, 0, 0, 0)
        assert [Path(line["path"]).name for line in lines(tmp_path / "out" / "tags.jsonl")] == [
            "blue.png", "copy.png", "lime.png", "z.png",
        ]  # fmt: skip

    def test_contents_can_be_compared_later(self, batch, photos):
        batch()
        found, _ = batch(by_content=True)
        assert (found.known, found.copied) == (3, 0)
        (photos / "red.png").rename(photos / "z.png")
        found, done = batch(by_content=True)
        assert (found.moved, done.recognized) == (1, 0)

    def test_older_pictures_can_be_left_out(self, batch, photos):
        os.utime(photos / "red.png", (1000, 1000))
        found, done = batch(since=2000.0)
        assert (found.skipped, done.recognized) == (1, 2)

    def test_a_picture_that_changes_while_it_is_read_is_read_again(self, batch, photos, recognizer, tmp_path):
        encode = recognizer.backend.encode

        def changing(pixels):
            os.utime(photos / "red.png", (1000, 1000))
            return encode(pixels)

        recognizer.backend.encode = changing
        assert batch()[1].failed == 2
        kinds = {record["error"]["kind"] for record in lines(tmp_path / "out" / "failures.jsonl")}
        assert kinds == {"not_a_picture", "changed"}
        recognizer.backend.encode = encode
        found, done = batch()
        assert (found.changed, done.recognized) == (1, 1)

    def test_a_picture_that_vanishes_while_it_is_read(self, batch, photos, recognizer, tmp_path):
        encode = recognizer.backend.encode

        def vanishing(pixels):
            (photos / "red.png").unlink(missing_ok=True)
            return encode(pixels)

        recognizer.backend.encode = vanishing
        assert (batch()[1].recognized, batch()[0].gone) == (2, 1)
        assert [record["path"] for record in lines(tmp_path / "out" / "failures.jsonl")] == [str(photos / "bad.jpg")]

    def test_names_as_long_as_a_file_system_has_them(self, batch, photos, recognizer, tmp_path):
        """The picture is recognized; sidecars with too long names are reported."""
        name = "é" * 125 + "a.png"
        assert len(os.fsencode(name)) == 255
        (photos / "red.png").rename(photos / name)
        view = TagView(recognizer.vocabulary)
        _, done = batch(sidecars=[XmpSidecars(view), TextSidecars()], tables=("jsonl", "html"))
        assert (done.recognized, done.sidecars, done.sidecar_problems) == (3, 4, 1)
        assert name in {Path(record["path"]).name for record in lines(tmp_path / "out" / "tags.jsonl")}
        [message] = [
            record["error"]["message"]
            for record in lines(tmp_path / "out" / "failures.jsonl")
            if record["error"]["kind"] == "sidecar"
        ]
        assert message.count("the sidecar's name would be too long for the file system; shorten the picture's") == 2

    def test_names_of_any_bytes(self, batch, photos, tmp_path):
        name = os.fsencode(photos) + b"/\xe9.png"
        shutil.copy(photos / "red.png", name)
        batch(tables=("jsonl", "csv", "html", "coco", "label-studio", "fiftyone", "parquet"))
        paths = {os.fsencode(record["path"]) for record in lines(tmp_path / "out" / "tags.jsonl")}
        assert name in paths
        assert Path(os.fsdecode(name)).exists()
        assert "\\xe9.png" in (tmp_path / "out" / "tags.csv").read_text(encoding="utf-8-sig")

    def test_coco_has_the_sizes_of_upright_pictures(self, batch, photos, tmp_path):
        exif = Image.Exif()
        exif[274] = 6  # Lies on its side.
        Image.new("RGB", (30, 20), "red").save(photos / "red.png", exif=exif)
        batch(tables=("coco",))
        batch(tables=("coco",))  # From what was kept.
        coco = json.loads((tmp_path / "out" / "coco.json").read_text())
        [red] = [image for image in coco["images"] if image["file_name"].endswith("red.png")]
        assert (red["width"], red["height"]) == (20, 30)
        found = [one for one in coco["annotations"] if one["image_id"] == red["id"]]
        assert [(one["bbox"], one["area"]) for one in found] == [([0, 0, 20, 30], 600)] * 3
        assert all(image["width"] > 0 and image["height"] > 0 for image in coco["images"])

    def test_shards_are_read_once(self, batch, photos, tmp_path, recognizer):
        import tarfile

        with tarfile.open(tmp_path / "some.tar", "w") as shard:
            for name in ("red", "lime"):
                shard.add(photos / f"{name}.png", f"{name}.png")
        shard = str(tmp_path / "some.tar")
        _, done = batch(archives=[shard], sidecars=[TextSidecars()])
        assert (done.recognized, done.sidecar_problems) == (5, 2)
        assert {record["path"] for record in lines(tmp_path / "out" / "tags.jsonl")} > {f"{shard}/red", f"{shard}/lime"}
        assert batch(archives=[shard])[1].recognized == 0


class TestOneAtATime:
    def test_a_second_batch_in_the_same_folder_is_refused(self, batch, recognizer, tmp_path):
        work = BatchRun(recognizer, {}, False, None, TagView(recognizer.vocabulary), (), (), tmp_path / "out")
        with work.open(), pytest.raises(LibraryError, match="another batch is running here; wait for it"):
            batch()

    def test_a_progress_file_of_a_newer_version(self, tmp_path):
        with closing(Progress(tmp_path / PROGRESS_FILE)) as known:
            known.set_value("format", "99")
        with pytest.raises(LibraryError, match=r"was written by a newer anytag \(format 99\); update anytag"):
            Progress(tmp_path / PROGRESS_FILE)

    def test_a_damaged_progress_file(self, tmp_path):
        (tmp_path / PROGRESS_FILE).write_bytes(b"SQLite format 3\0" + b"and then nothing that SQLite knows" * 99)
        with pytest.raises(LibraryError, match=r"cannot be used .* Name another file, or move it away"):
            Progress(tmp_path / PROGRESS_FILE)
