"""``anytag evaluate``: lists, the user's own tables, and errors about options."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import require_module
from PIL import Image
from typer.testing import CliRunner

from anytag.cli import build_app
from anytag.errors import UsageError
from anytag.model.directory import find_model


def run(*arguments):
    return CliRunner().invoke(build_app(), ["evaluate", *map(str, arguments)])


@pytest.fixture
def labeled(tmp_path):
    for number, color in enumerate(("red", "white", "blue")):
        Image.new("RGB", (32, 32), color).save(tmp_path / f"{number}.png")
    table = tmp_path / "mine.csv"
    table.write_text("image,tags\n0.png,dog\n1.png,cat\n2.png,dog|cat\n")
    return table


def test_the_list_names_every_benchmark_and_rival(tmp_path):
    done = run("--list", "--annotations", tmp_path)
    assert done.exit_code == 0
    for name in (
        "oppo-common",
        "openimages-rare-deleaked",
        "ade20k-clean",
        "nus-wide",
        "ml-decoder",
        "mkt",
        "grounding-dino",
    ):
        assert name in done.output
    assert "never released" in done.output
    assert "lacks openimages_common_214_ram_annots.txt" in done.output
    assert "--meteor adds METEOR where NLTK and WordNet are there" in done.output


def test_the_list_says_whose_weights_are_here(tmp_path):
    (tmp_path / "tresnet_m_open_images_200_groups_86_8.pth").touch()
    done = run("--list", "--weights", tmp_path)
    assert done.exit_code == 0
    lines = {line.split()[0]: line for line in done.output.splitlines() if line.strip()}
    assert f"here: {tmp_path / 'tresnet_m_open_images_200_groups_86_8.pth'}" in lines["ml-decoder"]
    assert "not here" in lines["mkt"]
    assert "mkt_first_stage.pth and mkt_second_stage.pth, from the two links to Google Drive" in lines["mkt"]
    assert lines["clip"].endswith("hub:openai/clip-vit-base-patch16")


def test_the_list_says_which_models_are_here(tmp_path, monkeypatch):
    monkeypatch.setattr("anytag.model.directory.pulled_model", lambda name: tmp_path / name)
    (tmp_path / "ram").mkdir()
    done = run("--list", "--weights", tmp_path)
    lines = {line.split()[0]: line for line in done.output.splitlines() if line.strip()}
    assert lines["lite"].endswith("ships with the package")
    assert lines["ram"].endswith(f"here: {tmp_path / 'ram'}")
    assert lines["ram_plus"].endswith("not here: anytag pull ram_plus")
    assert "tag2text" in lines


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--threshold", "nan"), "--threshold is nan; give a number"),
        (("--tag-weight", "inf"), "--tag-weight is inf; give a number"),
        (
            ("--categories", "0.png"),
            "0.png: cannot be read as a list of categories, one per line (it is not text in UTF-8)",
        ),
        (("--meteor",), "there is no WordNet, which METEOR needs; install Debian's package wordnet-base, or name "),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(labeled, tmp_path, monkeypatch, more, message):
    if "--meteor" in more:
        require_module("nltk")
    monkeypatch.setattr("anytag.evaluation.meteor._places", lambda: [])
    monkeypatch.chdir(tmp_path)
    done = run("--model", "lite", "--benchmark", labeled, "--out", "o", *more)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"anytag evaluate: {message}")
    assert not (tmp_path / "o").exists()


def test_tables_want_a_folder(labeled, tmp_path):
    done = run("--model", "lite", "--benchmark", labeled, "--out", tmp_path / "0.png")
    message = f"anytag evaluate: {tmp_path / '0.png'}: exists and is not a folder; "
    assert (done.exit_code, done.stderr) == (2, f"{message}give another --out\n")


def test_own_labels(labeled, tmp_path):
    done = run("--model", "lite", "--benchmark", labeled, "--out", tmp_path / "out", "--bootstrap", 5)
    assert done.exit_code == 0, done.output
    assert "lite (tagging) on mine: mAP" in done.output
    assert {"tables.md", "results.json", "results.csv", "report.html"} <= {f.name for f in (tmp_path / "out").iterdir()}


def test_validation_pictures_of_ones_own_get_the_benchmarks_classes(labeled, tmp_path):
    """A few pictures seldom show every class, and may show others."""
    held_out = tmp_path / "held_out.csv"
    held_out.write_text("image,tags\n0.png,dog\n1.png,\n2.png,dog|horse\n")
    done = run("--model", "lite", "--benchmark", labeled, "--validation", held_out, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "one threshold, fitted on validation pictures" in done.stdout
    assert "validation: left out, as they are not among the categories: 1 label: horse" in done.stderr


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,tags\n0.png,horse\n", "held_out.csv: none of the categories (cat, dog) is among the labels (horse)"),
        ("image,caption\n0.png,a dog\n", "held_out.csv: has no labels, so no threshold can be fitted on it"),
    ],
)
def test_validation_pictures_without_any_of_the_classes(labeled, tmp_path, monkeypatch, table, message):
    monkeypatch.chdir(tmp_path)
    Path("held_out.csv").write_text(table)
    done = run("--model", "lite", "--benchmark", labeled, "--validation", "held_out.csv", "--out", "out")
    assert done.exit_code == 2
    assert f"anytag evaluate: {message}\n" in done.stderr
    assert not (tmp_path / "out").exists()


def test_systems_and_benchmarks_of_one_name_are_told_apart(labeled, tmp_path, monkeypatch):
    """A taught model often has the name of its base model, and a user's table that of another."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(find_model(None).path, "other")
    Path("elsewhere").mkdir()
    for number in range(3):
        shutil.copy(f"{2 - number}.png", f"elsewhere/{number}.png")
    shutil.copy("mine.csv", "elsewhere/mine.csv")
    pairs = [part for name in ("mine.csv", "elsewhere/mine.csv", "mine.csv") for part in ("--benchmark", name)]
    done = run("--model", "lite", "--model", "other", *pairs, "--model", "lite", "--out", "out")
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(Path("out/results.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["system"] for row in rows} == {"lite: lite", "lite: other"}
    assert {row["benchmark"] for row in rows} == {"mine.csv", "elsewhere/mine.csv"}
    figures = [(row["system"], row["benchmark"], row["figure"]) for row in rows]
    assert len(figures) == len(set(figures))
    table = Path("out/tables.md").read_text(encoding="utf-8")
    assert table.count("| lite: lite |") == table.count("| lite: other |") == 2
    assert len(list(Path("out").glob("classes-*.csv"))) == 4


def test_each_benchmark_has_its_folder_of_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, count = [], 1

    def open_(name, annotations, pictures, wanted):
        found.append((name, pictures))
        if len(found) == count:
            raise UsageError("seen")
        return SimpleNamespace(key=name)

    monkeypatch.setattr("anytag.evaluation.benchmarks.registry.open_benchmark", open_)
    for name in ("one", "a=b", "hico"):
        Path(name).mkdir()
    asked = ("--model", "lite", "--benchmark", "nus-wide", "--out", "o")
    for folders, expected in ((("a=b",), Path("a=b")), (("one", "nus-wide=hico"), Path("hico"))):
        found.clear()
        done = run(*asked, *(part for folder in folders for part in ("--pictures", folder)))
        assert (found, done.stderr) == ([("nus-wide", expected)], "anytag evaluate: seen\n")
    for folders, message in (
        (("nowhere",), "--pictures nowhere: there is no such folder"),
        (("nus-wide=nowhere",), "--pictures nus-wide=nowhere: there is no such folder"),
        (("hico=hico",), "--pictures hico=hico has no effect: hico is not among the benchmarks"),
        (("one", "hico"), "--pictures hico: one was given before; write NAME=FOLDER for each benchmark"),
    ):
        done = run(*asked, *(part for folder in folders for part in ("--pictures", folder)))
        assert (done.exit_code, done.stderr) == (2, f"anytag evaluate: {message}\n")
    count = 2
    # A table of one's own has its pictures beside it, unless it stands alone or has a folder of its own.
    for more, expected in (
        (("--pictures", "one"), None),
        (("--pictures", "one", "--pictures", "mine.csv=hico"), Path("hico")),
    ):
        found.clear()
        run(*asked, "--benchmark", "mine.csv", *more)
        assert found == [("nus-wide", Path("one")), ("mine.csv", expected)]


def test_limited_figures_are_marked(labeled, tmp_path):
    done = run("--model", "lite", "--benchmark", labeled, "--limit", 2, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "lite (tagging) on mine, first 2: mAP" in done.stdout
    page = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert "| Method | mine, first 2 |" in page
    assert "only the first 2 of 3 pictures, so figures are not those of the benchmark" in page
    done = run("--model", "lite", "--benchmark", labeled, "--limit", 3, "--out", tmp_path / "out")
    assert "first 3" not in done.output


def test_a_failed_cell_does_not_stop_the_others(labeled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "others.csv").write_text("image,tags\n0.png,quark\n1.png,gluon\n")
    monkeypatch.setattr("anytag.evaluation.systems.ModelSystem.is_open", False)
    both = ("--model", "lite", "--benchmark", "others.csv", "--benchmark", "mine.csv", "--out", "out")
    done = run(*both)
    why = "lite: the vocabulary has none of the categories (gluon, quark)"
    assert done.exit_code == 1
    assert f"others, lite (tagging): {why}\n" in done.stderr
    assert done.stderr.endswith("1 of 2 cells could not be filled; the notes say why\n")
    assert "lite (tagging) on mine: mAP" in done.stdout
    assert f"- others, lite (tagging): {why}." in Path("out/tables.md").read_text(encoding="utf-8")
    done = run("--model", "lite", "--benchmark", "others.csv", "--out", "out")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith(f"anytag evaluate: {why}\n")


def test_notes_of_a_benchmark_stand_once(labeled, tmp_path):
    asked = ("--model", "lite", "--model", "lite:captions", "--benchmark", labeled, "--limit", 2)
    assert run(*asked, "--out", tmp_path / "out").exit_code == 0
    notes = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8").partition("## Notes")[2]
    assert notes.count("only the first 2 of 3 pictures") == 1
    assert "- mine, first 2, lite: only the first 2" in notes  # Two rows, but one system.


def test_pictures_of_a_table_may_lie_elsewhere(labeled, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    for number in range(3):
        (tmp_path / f"{number}.png").rename(tmp_path / "elsewhere" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    done = run("--model", "lite", "--benchmark", "mine.csv", "--pictures", "elsewhere", "--out", "out")
    assert done.exit_code == 0, done.output
    assert "could not be read" not in done.stderr
    assert "mine: CSV table mine.csv: 3 rows, picture from 'image', tags from 'tags'\n" in done.stderr
    done = run("--model", "lite", "--benchmark", "elsewhere", "--pictures", "elsewhere", "--out", "out")
    assert done.stderr == (
        "anytag evaluate: elsewhere: it contains its pictures; leave out --pictures, or give others NAME=FOLDER\n"
    )


def test_it_writes_only_to_the_given_path(labeled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results.csv").write_text("mine")
    before = sorted(tmp_path.iterdir())
    asked = ("--model", "lite", "--benchmark", labeled)
    assert "--out is missing: the folder for tables" in run(*asked).stderr
    done = run(*asked, "--out", ".")
    assert (done.exit_code, done.stderr) == (
        2,
        "anytag evaluate: results.csv: already exists and was not written by an evaluation; give another --out\n",
    )
    assert sorted(tmp_path.iterdir()) == before
    assert run(*asked, "--out", "mine").exit_code == run(*asked, "--out", "mine").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --benchmark and --model or --baseline; --list names what there is"),
        (["--model", "lite", "--benchmark", "coco-81"], "there is no benchmark 'coco-81', and no file or folder"),
        (["--baseline", "clop=x", "--benchmark", "{table}"], "there is no baseline 'clop'; baselines are: clip, "),
        (["--baseline", "clip", "--benchmark", "{table}"], "baseline clip needs weights: clip=PATH ("),
        (["--baseline", "mkt=x", "--benchmark", "{table}"], "baseline mkt also needs texts=…: mkt=PATH,texts=PATH"),
        (["--baseline", "clip=x,size=3", "--benchmark", "{table}"], "baseline clip has no option 'size'; it has none"),
        (["--baseline", "clip=/nowhere", "--benchmark", "{table}"], "/nowhere/config.json: missing; give a directory"),
        (["--suite", "huge"], "there is no suite 'huge'; there is: mini"),
        (["--suite", "mini"], "--suite mini needs --data, the folder with coco20k, coco_report and world"),
        (["--model", "lite", "--benchmark", "{table}", "--threshold", "0.5", "--tune-on-test"], "give a threshold, or"),
    ],
)
def test_wrong_options(labeled, arguments, message, tmp_path):
    done = run(*(argument.replace("{table}", str(labeled)) for argument in arguments), "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert message in done.stderr.replace("\n", "")


def test_tables_of_the_miniature_are_lines(tmp_path, monkeypatch):
    require_module("torch")
    monkeypatch.setattr("anytag.training.miniature.suite.run_suite", lambda *_: {})
    monkeypatch.setattr("anytag.training.miniature.suite.markdown", lambda figures: "| a |\n| b |\n")
    done = run("--suite", "mini", "--data", tmp_path, "--out", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (0, "| a |\n| b |\n")
