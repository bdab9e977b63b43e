"""A batch on a local Ray cluster of two workers gives the same results as in this process, even if one worker dies."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import tarfile
from contextlib import closing

import pytest
from fixtures_cluster import cluster  # noqa: F401 (a fixture)
from fixtures_toy import plain, toy_recognizer
from toy_cluster import dying

from anytag.errors import ModelError, UsageError
from anytag.library import cluster as module
from anytag.library.cluster import RayCluster, RayWorker, Tally
from anytag.library.run import PROGRESS_FILE, BatchRun
from anytag.pictures import find_pictures
from anytag.writers.records import TagView
from anytag.writers.text_sidecars import TextSidecars

COLORS = ("red", "lime", "blue", "white", "teal", "navy", "olive")
TABLES = ("tags.jsonl", "tags.csv", "failures.jsonl")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder and a shard, with relative paths."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767323045")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(70):
        plain(COLORS[number % len(COLORS)], (8 + number % 3, 8)).save(folder / f"{number:02}.png")
    (folder / "bad.jpg").write_text("no picture")
    plain("red").save(os.fsencode(folder) + b"/\xe9.png", "PNG")
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for name in [*sorted(folder.iterdir())[:39], folder / "bad.jpg"]:
            shard.add(name, f"in-{name.stem}{name.suffix}")
    return folder


@pytest.fixture
def recognizer(tmp_path):
    return toy_recognizer(tmp_path / "toy")


def run(recognizer, out, cluster=None, caption=False, archives=("shard.tar",), limit=None):  # noqa: F811
    sidecars = [TextSidecars(existing="append")]
    work = BatchRun(
        recognizer, {}, caption, None, TagView(recognizer.vocabulary), sidecars, ["jsonl", "csv"], out, cluster
    )
    with work.open() as known:
        work.scan(known, find_pictures(["photos"]), ["photos"])
        done = work.recognize(known, archives, limit)
        work.write(known)
    return done


def result(out):
    """The tables, and the record of every picture."""
    with closing(sqlite3.connect(out / PROGRESS_FILE)) as base:
        columns = "key, shown, size, modified, state, result, time, kind, message, sidecars, sidecar_problem"
        rows = base.execute(f"SELECT {columns} FROM pictures ORDER BY key").fetchall()
    return rows, [(out / name).read_bytes() for name in TABLES]


def test_two_workers_one_of_which_is_killed_do_what_one_process_does(cluster, photos, recognizer, tmp_path):  # noqa: F811
    alone = run(recognizer, tmp_path / "alone")
    for sidecar in photos.glob("*.txt"):
        sidecar.unlink()
    done = run(dying(recognizer, tmp_path), tmp_path / "out", RayCluster(2))
    assert (tmp_path / "killed 0").exists()
    assert result(tmp_path / "out") == result(tmp_path / "alone")
    assert done == alone
    assert (done.recognized, done.failed) == (71 + 40 - 1, 2)
    # What is done is not done again, wherever it was done.
    again = run(dying(recognizer, tmp_path, deaths=9), tmp_path / "out", RayCluster(2))
    assert (again.recognized, again.failed) == (0, 0)
    assert not (tmp_path / "killed 1").exists()


def test_a_local_batch_continues_on_a_cluster(cluster, photos, recognizer, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(module, "BLOCK", 3)
    monkeypatch.setattr(module, "_ROUND", 6)
    run(recognizer, tmp_path / "alone", caption=True)
    for sidecar in photos.glob("*.txt"):
        sidecar.unlink()
    run(recognizer, tmp_path / "out", caption=True, limit=50)
    plain("red").save(photos / "07.png")
    done = run(recognizer, tmp_path / "out", RayCluster(), caption=True, limit=12)
    assert done.recognized + done.failed == 12
    plain(COLORS[0], (9, 8)).save(photos / "07.png")
    run(recognizer, tmp_path / "out", caption=True)
    known = [[row[:1] + row[4:9] for row in result(tmp_path / out)[0]] for out in ("out", "alone")]
    assert known[0] == known[1]


def test_a_picture_that_kills_every_worker_is_a_failure_and_the_only_one(cluster, photos, recognizer, tmp_path):  # noqa: F811
    plain("fuchsia").save(photos / "50.png")
    done = run(dying(recognizer, tmp_path, deaths=99, only=(255, 0, 255)), tmp_path / "out", RayCluster(2), archives=())
    assert (done.recognized, done.failed) == (70, 2)
    assert len(list(tmp_path.glob("killed *"))) == 3  # Once in its block, and twice alone.
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert failures[0] == {
        "path": "photos/50.png",
        "error": {
            "kind": "killed",
            "message": "photos/50.png: 2 workers that read it were killed. Most likely memory ran out; --retry-failed "
            "tries it again.",
        },
    }


def test_errors_of_workers_are_raised_unchanged(cluster, photos, tmp_path):  # noqa: F811
    silent = toy_recognizer(tmp_path / "silent", captioner=False)
    with pytest.raises(ModelError, match="this model tags pictures but does not write captions"):
        run(silent, tmp_path / "out", RayCluster(2), caption=True)


def test_no_room(cluster):  # noqa: F811
    with pytest.raises(UsageError, match="the Ray cluster has 2 processors and 0 GPUs, and a worker wants 5 and 0"):
        RayCluster(processors=5).connect()


def test_no_workers():
    with pytest.raises(UsageError, match="workers is 0"):
        RayCluster(0)


def test_a_worker_starts_where_the_batch_does(cluster, photos, recognizer, tmp_path, monkeypatch):  # noqa: F811
    import pyarrow

    monkeypatch.chdir("/")
    block = next(module._blocks(iter(["photos/00.png", ("a name", (photos / "bad.jpg").read_bytes())])))
    assert isinstance(block, pyarrow.Table)
    worker = RayWorker(pickle.dumps((recognizer, ask_for_tags)), str(tmp_path), cluster.remote(Tally).remote())
    [row] = worker(block).to_pylist()
    seen, failure = pickle.loads(row["answers"])
    assert (seen.path, seen.size) == ("photos/00.png", (8, 8))
    assert json.dumps(failure.to_json()).startswith('{"path": "a name", "error": {"kind": "not_a_picture"')


def ask_for_tags(recognizer):
    return recognizer.questions.tags()
