"""``anytag batch`` and ``index`` on full or read-only disks: an error message, and no partial files.

A link to ``/dev/full`` in place of a file makes the system's own error; SQLite has a limit of its own.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from test_recognition_commands import asked, invoke, pictures, run  # noqa: F401 (fixtures)

import anytag
from anytag.library import progress

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which only Linux has")

FULL = "the disk is full. Free some space, then run the same command again."


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def limited(monkeypatch):
    """Run a statement on every database that is opened."""

    def limit(statement):
        usual = progress.open_database

        def opened(path, tables, kind):
            base = usual(path, tables, kind)
            base.execute(statement)
            return base

        monkeypatch.setattr(progress, "open_database", opened)

    return limit


@pytest.mark.parametrize("name", ["tags.jsonl", "tags.csv", "coco.json", "label-studio.json", "contact-sheet.html"])
def test_no_room_for_a_table(run, pictures, out, name):  # noqa: F811
    writer = {"coco.json": "coco", "label-studio.json": "label-studio", "contact-sheet.html": "html"}
    command = ("batch", pictures, "--out", out, "--write", writer.get(name, name.rpartition(".")[2]))
    (out / f"{name}.part").symlink_to("/dev/full")
    result = run(*command)
    assert (result.exit_code, result.stderr.splitlines()) == (
        2,
        ["3 pictures: 3 new", f"anytag batch: {out / name}: {FULL}"],
    )
    assert {path.name for path in out.iterdir()} == {"progress.sqlite"}
    again = run(*command)
    assert (again.exit_code, again.stderr.splitlines()[0]) == (0, "3 pictures: 3 done before")
    assert (out / name).stat().st_size > 0


def test_a_table_that_was_there_stays_whole(run, pictures, out):  # noqa: F811
    run("batch", pictures, "--out", out, "--write", "jsonl")
    before = (out / "tags.jsonl").read_bytes()
    (out / "tags.jsonl.part").symlink_to("/dev/full")
    assert run("batch", pictures, "--out", out, "--write", "jsonl").exit_code == 2
    assert (out / "tags.jsonl").read_bytes() == before


def test_no_room_for_a_sidecar_ends_no_batch(run, pictures, out):  # noqa: F811
    (pictures / "lime.txt.part").symlink_to("/dev/full")
    command = ("batch", pictures, "--out", out, "--write", "txt", "--write", "jsonl")
    result = run(*command)
    assert result.exit_code == 1
    [failure] = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    place = pictures / "lime.txt"
    assert failure["error"] == {"kind": "sidecar", "message": f"{place}: cannot be written (No space left on device)"}
    assert {path.name for path in pictures.glob("*.txt*")} == {"blue.txt", "red.txt"}
    assert run(*command).exit_code == 0
    assert place.exists()


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("PRAGMA max_page_count = 1", "database or disk is full"),
        ("PRAGMA query_only = ON", "attempt to write a readonly database"),
    ],
)
def test_no_room_for_what_is_known(run, pictures, out, limited, statement, reason):  # noqa: F811
    for number in range(60):
        (pictures / f"{number}{'x' * 200}.png").write_bytes((pictures / "red.png").read_bytes())
    limited(statement)
    commands = {
        "batch": ("batch", pictures, "--out", out, "--write", "jsonl"),
        "index": ("index", pictures, "--library", out / "index.sqlite"),
    }
    for name, command in commands.items():
        file = out / ("progress.sqlite" if name == "batch" else "index.sqlite")
        result = run(*command)
        assert result.exit_code == 2, result.exception
        assert result.stderr.splitlines()[-1] == (
            f"anytag {name}: {file}: cannot be written ({reason}). Earlier results are kept; fix the problem, then "
            "run the same command again"
        )


def test_the_status_changes_nothing(run, pictures, out, limited):  # noqa: F811
    run("batch", pictures, "--out", out)
    limited("PRAGMA query_only = ON")
    result = run("batch", "--out", out, "--status")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "3 done, 0 failed, 0 to do")


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_no_room_for_the_vectors_of_an_index(run, pictures, out, monkeypatch, seconds):  # noqa: F811
    monkeypatch.setattr("anytag.library.batch._COMMIT_AFTER", seconds)
    vectors = out / "index.picture.f32"
    vectors.symlink_to("/dev/full")
    command = ("index", pictures, "--library", out / "index.sqlite")
    result = run(*command)
    assert (result.exit_code, result.stderr) == (2, f"anytag index: {vectors}: {FULL}\n")
    assert len(anytag.Library(out / "index.sqlite")) == 0
    vectors.unlink()
    assert run(*command).exit_code == 0
    assert len(anytag.Library(out / "index.sqlite")) == 3


@pytest.mark.parametrize("command", ["batch", "index"])
def test_a_disk_that_is_read_only(run, pictures, tmp_path, monkeypatch, command):  # noqa: F811
    folder = tmp_path / "closed"

    def refuse(self, *arguments, **more):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    where = ("--out", folder) if command == "batch" else ("--library", folder / "index.sqlite")
    result = run(command, pictures, *where)
    assert (result.exit_code, result.stderr) == (2, f"anytag {command}: {folder}: Read-only file system\n")
    assert not folder.exists()
