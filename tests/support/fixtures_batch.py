"""Batches of the toy model over a folder of three pictures and one that cannot be read."""

from __future__ import annotations

import json

import pytest
from fixtures_toy import plain_folder, toy_recognizer

from anytag.library.run import BatchRun
from anytag.pictures import find_pictures
from anytag.writers.records import TagView


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767323045")


@pytest.fixture
def recognizer(tmp_path):
    return toy_recognizer(tmp_path / "toy")


@pytest.fixture
def photos(tmp_path):
    folder = plain_folder(tmp_path / "photos")
    (folder / "bad.jpg").write_text("no picture")
    return folder


@pytest.fixture
def batch(recognizer, photos, tmp_path):
    """Run a batch over the photos; return the scan and the counts."""

    def run(sidecars=(), tables=("jsonl",), caption=False, asked=None, view=None, archives=(), limit=None, **scan):
        view = view or TagView(recognizer.vocabulary)
        work = BatchRun(recognizer, asked or {}, caption, None, view, sidecars, tables, tmp_path / "out")
        with work.open() as known:
            if scan.pop("retry_failed", False):
                known.retry_failed()
            found = work.scan(known, find_pictures([photos]), [str(photos)], **scan)
            done = work.recognize(known, archives, limit)
            work.write(known)
        return found, done

    return run


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
