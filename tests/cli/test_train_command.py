"""``anytag train``: recipes of either kind, settings, and what it says when something is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from anytag.cli import build_app

pytest.importorskip("torch")

RECIPE = """
import sys
sys.path.append({folder!r})
from toy_pairs import config

def recipe():
    return config()

def tags():
    return config(objective={{"contrast": 0, "matching": 0, "captioning": 0}}, name="tags")
"""


@pytest.fixture
def data(tmp_path):
    from toy_pairs import write_pictures

    write_pictures(tmp_path, count=8)
    (tmp_path / "own.py").write_text(RECIPE.format(folder=str(ROOT / "tests" / "training")))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(build_app(), ["train", *map(str, arguments)])


def test_a_recipe_of_the_published_families(data):
    command = (f"{data / 'own.py'}:tags", "--data", data, "--run", data / "run", "--threads", 1)
    done = run(*command, "--set", "stages.0.epochs=2", "--set", "batch_size=4")
    assert done.exit_code == 0, done.output
    assert "all 4/4" in done.output
    assert not re.search(r"4/4: *$", done.output, re.MULTILINE), "a line of the log without any figures"
    assert done.output.rstrip().endswith(f"done: {data / 'run' / 'model'}")
    import anytag

    assert anytag.load(data / "run" / "model", backend="torch").directory.config.name == "tags"


def test_stopped_early_it_says_how_to_go_on(data):
    command = (f"{data / 'own.py'}:tags", "--data", data, "--run", data / "run", "--set", "batch_size=4")
    done = run(*command, "--stop-after", 0)
    assert done.exit_code == 0
    assert "stopped; go on with the same command" in done.output
    assert "done: " in run(*command).output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
def test_a_full_disk_is_said_so(data):
    """Wherever the package has no words of its own for it: here, under the list of what could not be read."""
    next((data / "pictures").iterdir()).write_bytes(b"no picture")
    (data / "run").mkdir()
    (data / "run" / "bad-samples.jsonl").symlink_to("/dev/full")
    options = ("--set", "batch_size=4", "--set", "stream.bad_share=0.5")
    done = run(f"{data / 'own.py'}:tags", "--data", data, "--run", data / "run", *options)
    assert done.exit_code == 2
    assert "anytag train: the disk is full. Make room, then give the same command again." in done.output


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("gone.py", (), "no such recipe"),
        ("own.py:other", (), "there is no recipe other() in this file; it has recipe, tags"),
        ("own.py", ("--set", "objective.distillation=1"), "this recipe has no such setting"),
        ("own.py", ("--set", 'sources=["gone.csv"]'), "gone.csv"),
    ],
)
def test_what_is_wrong_is_said_and_ends_with_2(data, recipe, options, message):
    done = run(data / recipe, "--data", data, "--run", data / "run", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
