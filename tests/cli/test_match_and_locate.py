"""``anytag match`` and ``anytag locate``: what is written where, and with which exit code."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from fixtures_toy import plain
from PIL import Image
from test_recognition_commands import asked, invoke, lines, pictures, run  # noqa: F401 (fixtures)

from anytag.cli.locate import Location
from anytag.errors import ModelError
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

    def test_a_failed_picture_is_1_and_the_rest_goes_on(self, run, pictures):  # noqa: F811
        (pictures / "empty.png").touch()
        result = run("match", pictures, "--text", "kart", "--json")
        found = lines(result, code=1)
        assert ["error" in record for record in found] == [False, True, False, False]
        assert result.stderr == "1 picture failed, 3 recognised\n"

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
        assert asked == [("m", options | {"tags": None, "descriptions": None})]


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

    def test_without_out_it_stands_in_the_current_folder(self, run, pictures, tmp_path, monkeypatch):  # noqa: F811
        monkeypatch.chdir(tmp_path)
        assert run("locate", pictures / "red.png", "--tag", "Go  Kart/2").exit_code == 0
        assert (tmp_path / "red-go-kart-2.png").exists()

    def test_json_gives_the_grid_and_writes_only_if_asked_to(self, run, pictures, tmp_path, monkeypatch):  # noqa: F811
        monkeypatch.chdir(tmp_path)
        before = set(tmp_path.rglob("*"))
        [record] = lines(run("locate", pictures / "red.png", "--tag", "hound", "--json"))
        assert record == {
            "path": str(pictures / "red.png"),
            "tag": {"name": "dog", "score": 0.6, "kind": "object", "threshold": 0.5},
            "grid": [[0.0, 0.5], [1.0, 0.5]],
        }
        assert set(tmp_path.rglob("*")) == before
        [record] = lines(run("locate", pictures / "red.png", "--tag", "hound", "--json", "--out", "maps"))
        assert record["overlay"] == "maps/red-dog.png"
        assert (tmp_path / "maps" / "red-dog.png").exists()

    def test_json_has_short_numbers(self):
        grid = np.array([[0.1, 1 / 3]], np.float32)
        assert Location("a", Tag("dog", 0.5, "object", 0.5), grid, None).to_json()["grid"] == [[0.1, 0.3333]]

    def test_pictures_of_one_name_get_a_file_each(self, run, pictures, tmp_path):  # noqa: F811
        (pictures / "more").mkdir()
        plain("lime").save(pictures / "more" / "red.png")
        found = lines(run("locate", pictures, "--tag", "dog", "--json", "--out", tmp_path / "maps"))
        written = sorted(record["overlay"].rpartition("/")[2] for record in found)
        assert written == ["blue-dog.png", "lime-dog.png", "red-dog-2.png", "red-dog.png"]
        assert {path.name for path in (tmp_path / "maps").iterdir()} == set(written)

    def test_a_large_picture_is_written_smaller(self, run, tmp_path):  # noqa: F811
        plain("red", (3200, 100)).save(tmp_path / "wide.png")
        assert run("locate", tmp_path / "wide.png", "--tag", "dog", "--out", tmp_path / "maps").exit_code == 0
        with Image.open(tmp_path / "maps" / "wide-dog.png") as laid:
            assert laid.size == (1600, 50)

    def test_a_failed_picture_is_1_and_the_rest_goes_on(self, run, pictures, tmp_path):  # noqa: F811
        (pictures / "empty.png").touch()
        result = run("locate", pictures, "--tag", "dog", "--json", "--out", tmp_path / "maps")
        assert ["error" in record for record in lines(result, code=1)] == [False, True, False, False]
        assert len(list((tmp_path / "maps").iterdir())) == 3

    def test_wrong_use_is_2(self, run, pictures, tmp_path):  # noqa: F811
        assert run("locate", pictures).exit_code == 2
        (tmp_path / "file").touch()
        result = run("locate", pictures, "--tag", "dog", "--out", tmp_path / "file")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            f"anytag locate: {tmp_path / 'file'}: cannot be made a folder (File exists); give another --out\n"
        )
        blank = run("locate", pictures, "--tag", " ", "--out", tmp_path / "maps")
        assert blank.exit_code == 2
        assert blank.stderr.startswith("anytag locate: categories: give at least one name")

    def test_a_model_that_cannot_is_2(self, run, pictures, tmp_path, monkeypatch):  # noqa: F811
        def refuse(backend, features, labels):
            raise ModelError("as worded by the backend")

        monkeypatch.setattr("fixtures_toy.ToyBackend.attention", refuse)
        result = run("locate", pictures, "--tag", "dog", "--out", tmp_path / "maps")
        assert (result.exit_code, result.stderr) == (2, "anytag locate: as worded by the backend\n")


@pytest.mark.parametrize("command", ["match", "locate"])
def test_the_help_says_what_exit_codes_mean(command):
    result = invoke(command, "--help", env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert re.search("Exit code: 0 done, 1 some pictures failed, 2 used wrongly", result.stdout)
