"""``anytag train``: recipes of either kind, settings, and errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image
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
    assert re.search(
        r"^all, epoch 2\.00 of 2, step 4/4, [\d.]+ pictures/s, [\d.]+ GB: rate .* tagging ", done.output, re.MULTILINE
    )
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
def test_a_full_disk_is_reported(data):
    """Also where the package has no message of its own: here, under the list of unreadable samples."""
    next((data / "pictures").iterdir()).write_bytes(b"no picture")
    (data / "run").mkdir()
    (data / "run" / "bad-samples.jsonl").symlink_to("/dev/full")
    options = ("--set", "batch_size=4", "--set", "stream.bad_share=0.5")
    done = run(f"{data / 'own.py'}:tags", "--data", data, "--run", data / "run", *options)
    assert done.exit_code == 2
    assert "anytag train: the disk is full. Free some space, then run the same command again." in done.output


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("gone.py", (), "no such recipe"),
        ("own.py:other", (), "there is no recipe other() in this file; it has recipe, tags"),
        ("own.py", ("--set", "objective.distillation=1"), "this recipe has no such setting"),
        ("own.py", ("--set", 'sources=["gone.csv"]'), "gone.csv"),
        ("own.py:tags", ("--device", "cuda:97"), "device 'cuda:97' is not available to PyTorch here"),
        ("own.py:tags", ("--device", "abacus"), "unknown device 'abacus'; PyTorch runs models on cpu, cuda, mps, xpu"),
        ("own.py:tags", ("--set", "best_metric=map"), "name some as validation"),
        (
            "own.py:tags",
            ("--set", "best_metric=maps"),
            "--set best_metric: Input should be 'map', 'label_map', 'f1', 'cider'",
        ),
        ("own.py:tags", ("--out", "a.png"), "--out is where --dry-run draws samples"),
    ],
)
def test_what_is_wrong_is_said_and_ends_with_2(data, recipe, options, message):
    done = run(data / recipe, "--data", data, "--run", data / "run", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_the_device_can_be_named(data):
    command = (f"{data / 'own.py'}:tags", "--data", data, "--run", data / "run", "--set", "batch_size=4")
    done = run(*command, "--device", "cpu", "--set", "stages.0.epochs=1")
    assert done.exit_code == 0, done.output
    assert done.output.rstrip().endswith(f"done: {data / 'run' / 'model'}")


def test_cpu_recipes_refuse_network_options(tmp_path):
    done = run(ROOT / "recipes" / "finetune_tags.py", "--data", tmp_path, "--run", tmp_path / "run", "--device", "cuda")
    assert done.exit_code == 2
    assert "--device is for recipes that train a network; this one takes minutes on a processor" in done.output
    done = run(ROOT / "recipes" / "finetune_tags.py", "--data", tmp_path, "--run", tmp_path / "run", "--dry-run")
    assert "--dry-run is for recipes that train a network" in done.output


def test_a_dry_run_trains_nothing(data):
    done = run(f"{data / 'own.py'}:tags", "--data", data, "--run", data / "run", "--dry-run", "--set", "batch_size=4")
    assert done.exit_code == 0, done.output
    for part in (
        "pictures: 8\n", "distinct: 8\n", "captions: 16, 2.0 a picture", "tags a picture: 2.0 on average, 2 to 2",
        "steps: 2 an epoch of 4 pictures each, 4 in all (all 4)", f"network sees them: {data / 'run' / 'samples.png'}",
    ):  # fmt: skip
        assert part in done.output, part
    assert sorted(path.name for path in (data / "run").iterdir() if path.name != ".lock") == ["cache", "samples.png"]
    with Image.open(data / "run" / "samples.png") as sheet:
        assert sheet.width > 5 * 256
    other = run(
        f"{data / 'own.py'}:tags", "--data", data, "--run", data / "run", "--dry-run", "--out", data / "seen" / "a.png"
    )
    assert other.exit_code == 0, other.output
    assert (data / "seen" / "a.png").read_bytes()[:4] == b"\x89PNG"
