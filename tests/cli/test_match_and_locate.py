"""``anytag match`` and ``anytag locate``: output and exit codes."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from fixtures_toy import plain
from PIL import Image
from test_recognition_commands import asked, invoke, lines, pictures, run  # noqa: F401 (fixtures)

from anytag.cli.locate import Location
from anytag.errors import ModelError, PictureError
from anytag.recognition import Tag


class TestMatch:
    def test_json_lines_key_by_key(self, run, pictures):  # noqa: F811
        result = run("match", pictures / "lime.png", "--text", "a hound on a beach", "--text", "kart", "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        path = json.dumps(str(pictures / "lime.png"))
        beach = '{"name": "beach", "score": 0.5, "kind": "scene", "threshold": 0.25}'
        # Five and one tokens, a tenth of green each.
        assert result.stdout == (
            f'{{"path": {path}, "matches": [{{"text": "a hound on a beach", "score": 0.5, "tags": [{beach}]}}, '
            '{"text": "kart", "score": 0.1, "tags": []}]}\n'
        )

    def test_a_failed_picture_exits_with_1_and_the_rest_continues(self, run, pictures):  # noqa: F811
        (pictures / "empty.png").touch()
        result = run("match", pictures, "--text", "kart", "--json")
        found = lines(result, code=1)
        assert ["error" in record for record in found] == [False, True, False, False]
        assert result.stderr == "1 picture failed, 3 recognized\n"

    def test_plain_output_puts_the_best_text_first(self, run, pictures):  # noqa: F811
        result = run("match", pictures / "lime.png", "--text", "kart", "--text", "a [red] beach in the sun")
        assert result.exit_code == 0
        assert result.stdout.splitlines() == [
            str(pictures / "lime.png"),
            f"  0.80 {'█' * 16:<20} a [red] beach in the sun  (beach)",
            f"  0.10 {'█' * 2:<20} kart",
            "",
        ]

    def test_wrong_use_is_2(self, run, pictures):  # noqa: F811
        result = run("match", pictures, "--text", " ")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "anytag match: texts: give at least one text, none of them empty\n"
        assert run("match", pictures).exit_code == 2
        assert run("match", "--text", "kart").exit_code == 2

    def test_options_reach_the_model(self, run, pictures, asked):  # noqa: F811
        run("match", pictures, "--text", "kart", "--model", "m", "--threads", 3, "--backend", "torch")
        options = {"backend": "torch", "device": "cpu", "precision": "float32", "threads": 3}
        assert asked == [("m", options | {"accept_truncated": False})]


class TestLocate:
    def test_a_picture_with_its_map_is_written(self, run, pictures, tmp_path):  # noqa: F811
        out = tmp_path / "new" / "maps"
        result = run("locate", pictures / "red.png", "--tag", "dog", "--out", out)
        assert result.exit_code == 0
        assert result.stdout.splitlines() == [
            str(pictures / "red.png"), f"  dog  0.60 {'█' * 12:<20} {out / 'red-dog.png'}", "",
        ]  # fmt: skip
        with Image.open(out / "red-dog.png") as laid:
            assert (laid.format, laid.size, laid.mode) == ("PNG", (8, 8), "RGB")
            brightness = np.asarray(laid.convert("L"), int)
        # The toy looks most at the lower left and least at the upper left.
        assert brightness[7, 0] > brightness[0, 7] > brightness[0, 0]
        assert [path.name for path in out.iterdir()] == ["red-dog.png"]

    def test_without_out_a_map_is_shown_and_nothing_is_written(self, run, pictures, tmp_path, monkeypatch):  # noqa: F811
        monkeypatch.chdir(tmp_path)
        before = set(tmp_path.rglob("*"))
        result = run("locate", pictures / "red.png", "--tag", "hound")
        assert result.stdout.splitlines() == [
            str(pictures / "red.png"),
            f"  hound (dog)  0.60 {'█' * 12:<20} ",
            "    ▒▒",
            "  ██▒▒",
            "",
        ]
        assert set(tmp_path.rglob("*")) == before

    def test_what_is_not_seen_is_not_drawn_unless_asked_for(self, run, pictures, tmp_path):  # noqa: F811
        result = run("locate", pictures / "blue.png", "--tag", "dog", "--out", tmp_path / "maps")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[1].endswith("not found (threshold 0.5)")
        assert not (tmp_path / "maps").exists()
        [record] = lines(
            run("locate", pictures / "blue.png", "--tag", "dog", "--json", "--threshold", 0, "--out", tmp_path)
        )
        # The score is a millionth, so the map shows nothing.
        assert record["grid"] == [[0, 0], [0, 0]]
        with Image.open(tmp_path / "blue-dog.png") as drawn:
            assert len(drawn.getcolors()) == 1
        # Lime is a beach at twice its threshold; dogs are seen at 0.6 of red, so half their threshold is half a map.
        assert lines(run("locate", pictures / "lime.png", "--tag", "beach", "--json"))[0]["grid"] == [
            [0, 0.5],
            [1, 0.5],
        ]
        plain((128, 0, 0)).save(tmp_path / "dark.png")
        [record] = lines(run("locate", tmp_path / "dark.png", "--tag", "dog", "--json"))
        strength = 0.6 * 128 / 255 / 0.5
        assert np.allclose(record["grid"], np.array([[0, 0.5], [1, 0.5]]) * strength, atol=1e-4)

    def test_nothing_else_is_overwritten_and_overlays_are_not_pictures(self, run, pictures, monkeypatch):  # noqa: F811
        monkeypatch.chdir(pictures)
        plain("red").save("red-dog.png")
        before = (pictures / "red-dog.png").read_bytes()
        first = lines(run("locate", ".", "--tag", "dog", "--out", ".", "--json"))
        assert [record.get("overlay") for record in first] == [None, None, "red-dog-dog.png", "red-dog-2.png"]
        for command in (
            ("locate", ".", "--tag", "dog", "--out", "."),
            ("locate", *sorted(Path().iterdir()), "--tag", "dog"),
        ):
            again = run(*command, "--json")
            assert [record["path"] for record in lines(again)] == [record["path"] for record in first]
            assert again.stderr == "left out: 2 written by anytag locate\n"
        assert (pictures / "red-dog.png").read_bytes() == before
        assert len(list(pictures.iterdir())) == 6
        assert len(lines(run("tag", ".", "--json"))) == 4
        # Who names one outright means it.
        assert len(lines(run("tag", "red-dog-2.png", "--json"))) == 1

    @pytest.mark.parametrize("name", ["x" * 251, "é" * 125, "\udce9" * 200])
    def test_long_and_strange_names(self, run, tmp_path, name):  # noqa: F811
        picture = tmp_path / f"{name}.png"
        plain("red").save(picture)
        plain("red").save(tmp_path / "z.png")
        found = lines(
            run(
                "locate",
                tmp_path,
                "--tag",
                "dog" + " long" * 90,
                "--json",
                "--threshold",
                0,
                "--out",
                tmp_path / "maps",
            )
        )
        assert len(found) == len(list((tmp_path / "maps").iterdir())) == 2
        [record] = [record for record in found if not record["path"].endswith("z.png")]
        assert record["path"].encode("utf-8", "surrogateescape") == os.fsencode(picture)
        assert Path(record["overlay"]).exists()

    def test_a_name_that_the_file_system_rejects_stops_nothing(self, run, pictures, tmp_path, monkeypatch):  # noqa: F811
        def refuse(self, source, tag, *_):
            raise PictureError("not_written", source, f"{source}: as worded")

        monkeypatch.setattr("anytag.cli._overlays.OverlayFolder.write", refuse)
        found = lines(run("locate", pictures, "--tag", "dog", "--json", "--out", tmp_path / "maps"), code=1)
        assert [record.get("error", {}).get("kind") for record in found] == [None, None, "not_written"]

    def test_json_gives_the_grid_and_writes_only_if_asked_to(self, run, pictures, tmp_path, monkeypatch):  # noqa: F811
        monkeypatch.chdir(tmp_path)
        before = set(tmp_path.rglob("*"))
        [record] = lines(run("locate", pictures / "red.png", "--tag", "hound", "--json"))
        assert record == {
            "path": str(pictures / "red.png"),
            "tag": {"name": "hound", "score": 0.6, "kind": "object", "threshold": 0.5, "taken_for": "dog"},
            "grid": [[0.0, 0.5], [1.0, 0.5]],
        }
        assert set(tmp_path.rglob("*")) == before
        [record] = lines(run("locate", pictures / "red.png", "--tag", "hound", "--json", "--out", "maps"))
        assert record["overlay"] == "maps/red-hound.png"
        assert (tmp_path / "maps" / "red-hound.png").exists()

    def test_json_has_short_numbers(self):
        grid = np.array([[0.1, 1 / 3]], np.float32)
        assert Location("a", Tag("dog", 0.5, "object", 0.5), grid, None).to_json()["grid"] == [[0.1, 0.3333]]

    def test_pictures_of_one_name_get_a_file_each(self, run, pictures, tmp_path):  # noqa: F811
        (pictures / "more").mkdir()
        plain("lime").save(pictures / "more" / "red.png")
        found = lines(run("locate", pictures, "--tag", "dog", "--json", "--out", tmp_path / "maps", "--threshold", 0))
        written = sorted(record["overlay"].rpartition("/")[2] for record in found)
        assert written == ["blue-dog.png", "lime-dog.png", "red-dog-2.png", "red-dog.png"]
        assert {path.name for path in (tmp_path / "maps").iterdir()} == set(written)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of POSIX")
    def test_a_pipe_is_read_once(self, run, pictures, tmp_path):  # noqa: F811
        os.mkfifo(tmp_path / "pipe.png")
        content = (pictures / "red.png").read_bytes()
        writer = threading.Thread(target=(tmp_path / "pipe.png").write_bytes, args=(content,), daemon=True)
        writer.start()
        [record] = lines(run("locate", tmp_path / "pipe.png", "--tag", "dog", "--json", "--out", tmp_path / "maps"))
        assert (record["path"], record["overlay"]) == (
            str(tmp_path / "pipe.png"),
            str(tmp_path / "maps" / "pipe-dog.png"),
        )

    def test_a_large_picture_is_written_smaller(self, run, tmp_path):  # noqa: F811
        plain("red", (3200, 100)).save(tmp_path / "wide.png")
        assert run("locate", tmp_path / "wide.png", "--tag", "dog", "--out", tmp_path / "maps").exit_code == 0
        with Image.open(tmp_path / "maps" / "wide-dog.png") as laid:
            assert laid.size == (1600, 50)

    def test_a_failed_picture_exits_with_1_and_the_rest_continues(self, run, pictures, tmp_path):  # noqa: F811
        (pictures / "empty.png").touch()
        result = run("locate", pictures, "--tag", "dog", "--json", "--out", tmp_path / "maps")
        assert ["error" in record for record in lines(result, code=1)] == [False, True, False, False]
        assert [path.name for path in (tmp_path / "maps").iterdir()] == ["red-dog.png"]

    @pytest.mark.skipif(os.name == "nt", reason="Windows would write all of the file")
    def test_a_huge_file_that_is_no_picture_fails_without_being_read(self, run, pictures):  # noqa: F811
        with (pictures / "huge.png").open("wb") as file:
            file.truncate(1 << 40)
        found = lines(run("locate", pictures, "--tag", "dog", "--json"), code=1)
        assert [record.get("error", {}).get("kind") for record in found] == [None, "not_a_picture", None, None]

    def test_wrong_use_is_2(self, run, pictures, tmp_path):  # noqa: F811
        assert run("locate", pictures).exit_code == 2
        (tmp_path / "file").touch()
        result = run("locate", pictures, "--tag", "dog", "--out", tmp_path / "file")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            f"anytag locate: {tmp_path / 'file'}: cannot be created as a folder (File exists); give another --out\n"
        )
        blank = run("locate", pictures, "--tag", " ", "--out", tmp_path / "maps")
        assert blank.exit_code == 2
        assert blank.stderr.startswith("anytag locate: tag must not be empty")

    def test_a_model_that_cannot_is_2(self, run, pictures, tmp_path, monkeypatch):  # noqa: F811
        def refuse(backend, features, labels):
            raise ModelError("as worded by the backend")

        monkeypatch.setattr("fixtures_toy.ToyBackend.attention", refuse)
        result = run("locate", pictures, "--tag", "dog", "--out", tmp_path / "maps")
        assert (result.exit_code, result.stderr) == (2, "anytag locate: as worded by the backend\n")


@pytest.mark.parametrize("command", ["match", "locate"])
def test_the_help_says_what_exit_codes_mean(command):
    result = invoke(command, "--help", env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert re.search("Exit code: 0 success, 1 some pictures failed, 2 error", result.stdout)
