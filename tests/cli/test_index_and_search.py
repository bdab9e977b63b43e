"""``anytag index`` and ``anytag search``: the index is written to the named file, and nowhere else."""

from __future__ import annotations

import json
import sys

import pytest
from conftest import require
from fixtures_toy import plain
from typer.testing import CliRunner

from anytag.cli import build_app
from anytag.model.directory import SHIPPED_MODEL


@pytest.fixture
def run(tmp_path, monkeypatch):
    require(SHIPPED_MODEL / "config.json", "the shipped model")
    monkeypatch.chdir(tmp_path)
    plain("red").save("red.png")
    return lambda *arguments: CliRunner().invoke(build_app(), list(map(str, arguments)))


def test_the_index_is_the_file_that_was_named(run, tmp_path):
    result = run("index", "red.png", "gone.png", "--library", "mine.db", "--threads", 1)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"1 indexed, 1 failed: mine.db\nfailed: {tmp_path / 'gone.png'}: no such file.")
    assert (tmp_path / "mine.db").exists()
    assert not (tmp_path / "library.sqlite").exists()
    assert run("search", "path:red", "--library", "mine.db").stdout.startswith("red.png\n")
    (tmp_path / "gone.png").write_text("no picture")
    assert "1 failed" in run("index", "red.png", "gone.png", "--library", "mine.db", "--threads", 1).stderr
    again = run("index", "red.png", "gone.png", "--library", "mine.db", "--threads", 1)
    assert (again.exit_code, again.stderr) == (
        0,
        "0 indexed, 0 failed, 1 known before, 1 failed before (--retry-failed tries them again): mine.db\n",
    )


def test_paths_are_shown_from_here_and_given_whole_to_programs(run, tmp_path, monkeypatch):
    run("index", "red.png", "--library", "mine.db", "--threads", 1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert run("search", "path:red", "--library", tmp_path / "mine.db").stdout.startswith(f"{tmp_path / 'red.png'}\n")
    monkeypatch.chdir(tmp_path)
    [line] = run("search", "path:red", "--library", "mine.db", "--json").stdout.splitlines()
    assert json.loads(line)["path"] == str(tmp_path / "red.png")
    result = run("search", "--duplicates", "--library", "mine.db")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "no pictures look nearly alike\n")


def test_results_are_opened_in_the_system_s_viewer(run, tmp_path, monkeypatch):
    run("index", "red.png", "--library", "mine.db", "--threads", 1)
    opened = []
    monkeypatch.setattr("subprocess.run", lambda command, check: opened.append(command))
    assert run("search", "path:red", "--library", "mine.db", "--open").exit_code == 0
    viewer = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
    assert opened == [[viewer, str(tmp_path / "red.png")]]
    assert run("search", "path:nowhere", "--library", "mine.db", "--open").exit_code == 1
    assert len(opened) == 1


@pytest.mark.parametrize(("first", "what"), [("red.png", "not a folder"), ("gone", "no such folder")])
def test_without_a_folder_the_index_needs_a_name(run, tmp_path, first, what):
    result = run("index", first)
    message = f"anytag index: {first}: {what} that could hold the index; name its file, as --library my.sqlite\n"
    assert (result.exit_code, result.stderr) == (2, message)
    assert [path.name for path in tmp_path.iterdir()] == ["red.png"]


def test_a_picture_is_no_index(run, tmp_path):
    before = (tmp_path / "red.png").read_bytes()
    for command in (("index", "red.png", "--threads", 1), ("search", "red")):
        result = run(*command, "--library", "red.png")
        assert result.exit_code == 2
        assert result.stderr.startswith(f"anytag {command[0]}: red.png: a picture, not an index; ")
    assert (tmp_path / "red.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["red.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", ""), "--host is empty; give an address of this machine, or 0.0.0.0 for all"),
        (("--cors", "photos.example"), "--cors: 'photos.example' is not an origin; write it as browsers do"),
        (("--cors", "https://photos.example/"), "--cors: 'https://photos.example/' is not an origin; "),
        (("--model", "a=x", "--model", "a=y"), "--model: two models are called 'a'; give them names: NAME=DIRECTORY"),
        (("--model", "x/lite", "--model", "y/lite"), "--model: two models are called 'lite'; "),
        (("--model", ""), "the name of a model is empty; give a folder, or leave it out to use the shipped model"),
        (("--timeout", "inf"), "--timeout is inf; give a number"),
    ],
)
def test_a_service_is_not_started_with_what_makes_no_sense(run, arguments, message):
    result = run("serve", "--port", 0, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"anytag serve: {message}")
    assert run("serve", "--port", 0, "--max-mb", "inf").exit_code == 2


@pytest.mark.parametrize("command", [("search", "red"), ("serve", "--port", 0)])
def test_what_is_no_index_is_refused_before_anything_begins(run, tmp_path, command):
    (tmp_path / "photos").mkdir()
    (tmp_path / "notes.txt").write_text("where the photos are")
    (tmp_path / "none.sqlite").touch()
    run("batch", "red.png", "--out", "out", "--write", "jsonl")
    for place, what in (
        ("gone", "gone: no such file or folder; name a folder of photos, or the file of an index"),
        ("photos", "photos: there is no index in this folder; make one with: anytag index photos"),
        ("red.png", "red.png: a picture, not an index; "),
        ("notes.txt", "notes.txt: a file of another kind, not an index; "),
        ("none.sqlite", "none.sqlite: an empty file, not an index; "),
        ("out/progress.sqlite", "out/progress.sqlite: the record of a batch, not an index; "),
    ):
        result = run(*command, "--library", place)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"anytag {command[0]}: {what}")
        assert result.stderr.count("\n") == 1
