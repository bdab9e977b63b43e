"""``--watch`` of ``anytag batch`` and ``index``: new, changed and deleted pictures between two scans, and Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from fixtures_toy import plain, toy_recognizer
from test_recognition_commands import asked, invoke, run  # noqa: F401 (fixtures)

import anytag
from anytag.cli import _process, _watching


def put(path, color="red", age=60, size=(8, 8)):
    """Write a picture whose file is this many seconds old."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain(color, size).save(path)
    os.utime(path, (time.time() - age,) * 2)


@pytest.fixture
def steps(monkeypatch):
    """Changes between scans, followed by Ctrl-C."""
    waiting = []

    def sleep(seconds):
        assert seconds == 5
        if not waiting:
            raise KeyboardInterrupt
        waiting.pop(0)()

    monkeypatch.setattr(_watching.time, "sleep", sleep)
    monkeypatch.setattr(_process._Interrupts, "announced", False)
    return waiting


def names(out):
    return [Path(json.loads(line)["path"]).name for line in (out / "tags.jsonl").read_text().splitlines()]


class TestBatch:
    @pytest.fixture
    def watch(self, run, tmp_path):  # noqa: F811
        (tmp_path / "photos").mkdir()

        def watched(*more):
            command = ["batch", tmp_path / "photos", "--out", tmp_path / "out", "--write", "jsonl", "--watch", "5"]
            return run(*command, *more)

        return watched

    def test_new_pictures_are_done_and_quiet_scans_print_nothing(self, watch, steps, tmp_path):
        photos, out = tmp_path / "photos", tmp_path / "out"
        put(photos / "a.png")
        steps += [lambda: None, lambda: put(photos / "b.png"), lambda: None]
        result = watch()
        assert result.exit_code == 130
        assert result.stderr.splitlines() == [
            "1 picture: 1 new",
            "1 recognized, 0 failed",
            f"  {out}/tags.jsonl",
            "2 pictures: 1 new, 1 done before",
            "1 recognized, 0 failed",
            f"  {out}/tags.jsonl",
            "anytag batch: interrupted",
        ]
        assert names(out) == ["a.png", "b.png"]

    def test_a_picture_that_is_being_written_waits_until_it_is_whole(self, watch, steps, tmp_path):
        photos, whole = tmp_path / "photos", tmp_path / "whole.png"
        put(photos / "a.png")
        put(whole, size=(99, 99))

        def half():
            (photos / "b.png").write_bytes(whole.read_bytes()[:100])

        def done():
            put(photos / "b.png", size=(99, 99), age=4)

        steps += [half, lambda: None, done]
        result = watch()
        assert "0 failed" in result.stderr
        assert "1 failed" not in result.stderr
        assert "2 pictures: 1 new, 1 done before" in result.stderr
        assert names(tmp_path / "out") == ["a.png", "b.png"]

    def test_a_half_picture_that_lies_is_read_again_once_it_is_another(self, watch, steps, tmp_path):
        photos = tmp_path / "photos"
        put(photos / "a.png", size=(99, 99))
        (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:60])
        os.utime(photos / "a.png", (1000, 1000))
        steps += [lambda: put(photos / "a.png")]
        result = watch()
        assert "0 recognized, 1 failed" in result.stderr
        assert "1 picture: 1 changed" in result.stderr
        assert not (tmp_path / "out" / "failures.jsonl").exists()

    def test_a_picture_that_vanishes_is_forgotten(self, watch, steps, tmp_path):
        photos = tmp_path / "photos"
        put(photos / "a.png")
        put(photos / "b.png")
        steps += [(photos / "a.png").unlink]
        assert "1 picture: 1 done before, 1 gone" in watch().stderr
        assert names(tmp_path / "out") == ["b.png"]

    def test_a_folder_that_disappears_and_returns_loses_nothing(self, watch, steps, tmp_path, asked):  # noqa: F811
        photos, aside = tmp_path / "photos", tmp_path / "aside"
        put(photos / "a.png")
        put(photos / "inside" / "b.png")
        steps += [lambda: photos.rename(aside), lambda: None, lambda: aside.rename(photos), lambda: None]
        steps += [lambda: shutil.rmtree(photos / "inside")]
        result = watch()
        assert result.stderr.count(f"{photos}: not there; looking again every 5 s\n") == 1
        assert [line for line in result.stderr.splitlines() if "recognized" in line] == [
            "2 recognized, 0 failed",
            "0 recognized, 0 failed",
        ]
        assert "1 picture: 1 done before, 1 gone" in result.stderr
        assert not (tmp_path / "out" / "failures.jsonl").exists()

    def test_an_empty_folder_is_waited_for(self, watch, steps, tmp_path):
        photos = tmp_path / "photos"
        steps += [lambda: put(photos / "a.png")]
        result = watch()
        assert result.stderr.splitlines()[:2] == [
            f"{photos}: no pictures in it; looking again every 5 s",
            "1 picture: 1 new",
        ]

    def test_a_list_cannot_be_watched(self, run, tmp_path):  # noqa: F811
        result = run("batch", "-", "--out", tmp_path / "out", "--watch", "5", input="a.png\n")
        assert result.exit_code == 2
        assert "--watch follows folders; a list on standard input is read only once" in result.stderr


def test_an_index_follows_its_folder(run, steps, tmp_path):  # noqa: F811
    photos = tmp_path / "photos"
    put(photos / "a.png")
    put(photos / "b.png")
    steps += [lambda: None, lambda: put(photos / "c.png", "lime"), (photos / "a.png").unlink]
    result = run("index", photos, "--watch", "5")
    place = photos / ".anytag" / "library.sqlite"
    assert (result.exit_code, result.stderr.splitlines()) == (
        130,
        [
            f"2 indexed, 0 failed: {place}",
            f"1 indexed, 0 failed, 2 known before: {place}",
            f"0 indexed, 0 failed, 2 known before, 1 gone: {place}",
            "anytag index: interrupted",
        ],
    )
    library = anytag.Library(place)
    assert [hit.path for hit in library.search("beach OR red").hits] == [str(photos / "b.png"), str(photos / "c.png")]


def test_an_index_remembers_folders_that_were_away(run, steps, tmp_path, monkeypatch):  # noqa: F811
    here, there, aside = tmp_path / "here", tmp_path / "there", tmp_path / "aside"
    put(here / "a.png")
    put(there / "b.png", "lime")
    steps += [lambda: there.rename(aside), lambda: None, lambda: aside.rename(there)]
    assert run("index", here, there, "--watch", "5").exit_code == 130
    put(there / "c.png", "blue")
    library = anytag.Library(here, toy_recognizer(tmp_path / "model"))
    assert len(library) == 2
    library.update()
    assert len(library) == 3


def test_a_folder_that_was_empty_is_no_failed_picture_for_ever(run, tmp_path):  # noqa: F811
    (tmp_path / "photos").mkdir()
    put(tmp_path / "others" / "a.png")
    command = ("batch", tmp_path / "photos", tmp_path / "others", "--out", tmp_path / "out", "--write", "jsonl")
    assert "1 recognized, 1 failed" in run(*command).stderr
    put(tmp_path / "photos" / "b.png")
    assert "1 recognized, 0 failed" in run(*command).stderr
    assert not (tmp_path / "out" / "failures.jsonl").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
@pytest.mark.parametrize("command", ["batch", "index"])
def test_an_interrupt_ends_it_in_one_line(tmp_path, command):
    put(tmp_path / "photos" / "a.png")
    out = ("--out", tmp_path / "out", "--write", "jsonl") if command == "batch" else ()
    given = [sys.executable, "-m", "anytag", command, tmp_path / "photos", *out, "--watch", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(given, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        said = []
        while not said or ("tags.jsonl" if command == "batch" else "1 indexed") not in said[-1]:
            said.append(process.stderr.readline())
            assert said[-1], said
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(30) == 130
    assert rest == f"anytag {command}: interrupted\n"
