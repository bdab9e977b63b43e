"""A batch that is killed again and again ends with the same results as an uninterrupted one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from fixtures_toy import plain, write_toy_model
from toy_batch import run

SCRIPT = ROOT / "tests" / "support" / "toy_batch.py"


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A model, and photos of which some have sidecars of other programs."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767323045")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(48):  # So many that a fast machine is not done after a kill or two.
        plain(("red", "lime", "blue", "white")[number % 4]).save(photos / f"{number:02}.png")
    (photos / "03.txt").write_text("holiday")
    (photos / "bad.jpg").write_text("no picture")
    return write_toy_model(tmp_path / "model"), photos


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(library, tmp_path):
    model, photos = library
    untouched = tmp_path / "untouched"
    shutil.copytree(photos, untouched)
    photos.rename(tmp_path / "aside")
    untouched.rename(photos)
    run(model, photos, tmp_path / "whole")
    expected, outputs = files(photos), files(tmp_path / "whole")
    shutil.rmtree(photos)
    (tmp_path / "aside").rename(photos)

    chance, kills = random.Random(0), 0
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{SCRIPT.parents[1]}:{SCRIPT.parent}"}
    for _ in range(30):
        command = [sys.executable, str(SCRIPT), str(model), str(photos), str(tmp_path / "out")]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 9)):
                process.stdout.readline()
            time.sleep(chance.random() * 0.01)
            process.kill()
            code = process.wait(60)
        kills += code == -signal.SIGKILL
        if code == 0:
            break
    else:
        run(model, photos, tmp_path / "out")
    assert kills >= 3
    run(model, photos, tmp_path / "out")
    assert files(photos) == expected
    for name in ("tags.jsonl", "tags.csv", "failures.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == outputs[name], name
