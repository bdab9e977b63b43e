"""A run folder records the run, is written by one process, and is not changed after the run has ended."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from toy_pairs import config, write_pictures, write_rows  # noqa: E402

from anytag.errors import ModelError, UsageError  # noqa: E402
from anytag.foundations.folder_locks import only_writer  # noqa: E402
from anytag.training.recipes.config import Tag2TextConfig, TrainingStage, VocabularyConfig  # noqa: E402
from anytag.training.run import train  # noqa: E402


def settings(epochs=2, **changes):
    """Tags alone, three steps per epoch."""
    stage = TrainingStage(name="all", epochs=epochs, learning_rate=3e-3, warmup=2)
    objective = Tag2TextConfig(captioning=0, contrast=0, matching=0)
    return config(objective=objective, **({"stages": (stage,)} | changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_pictures(folder)
    return folder


@pytest.fixture
def run(data, tmp_path):
    """Train in one folder, and return the reported lines."""

    def go(given, **more):
        lines = []
        train(given, data, tmp_path, lines.append, **more)
        return lines

    return go


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_changes_are_reported_and_recorded(run, tmp_path):
    run(settings(seed=7), stop_after=0, settings=["seed=7"])
    stages = (TrainingStage(name="all", epochs=2, learning_rate=1e-3, warmup=2),)
    said = run(settings(seed=7, stages=stages))
    assert "changed since step 1: stages.0.learning_rate 0.003 → 0.001" in said
    notes = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [note["changed"] for note in notes if "changed" in note] == [{"stages.0.learning_rate": "0.003 → 0.001"}]
    assert read(tmp_path, "recipe.json")["stages"][0]["learning_rate"] == 0.001
    first, second = read(tmp_path, "run.json")["times"]
    assert (first["step"], first["set"], first["changes"]) == (0, ["seed=7"], {})
    assert (second["step"], second["set"], second["changes"]) == (1, None, {"stages.0.learning_rate": "0.003 → 0.001"})
    assert (first["processes"], first["device"]) == (1, "cpu")
    assert first["versions"]["torch"] == torch.__version__
    assert first["command"]


def test_a_change_that_is_refused_is_written_nowhere(run, tmp_path):
    run(settings(), stop_after=0)
    before = {name: read(tmp_path, name) for name in ("recipe.json", "run.json")}
    other = settings(model=settings().model.model_copy(update={"width": 20}))
    with pytest.raises(ModelError, match="checkpoint of another model"):
        run(other)
    with pytest.raises(UsageError, match="was saved with seed 0, and cannot resume with 5"):
        run(settings(seed=5))
    assert {name: read(tmp_path, name) for name in before} == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "this run is finished at step 6; nothing was changed"),
        ({"epochs": 1}, "this run has gone 6 steps, more than the 3 that the recipe asks for now"),
        ({"log_every": 1}, "this run is finished at step 6; nothing was changed"),
    ],
)
def test_a_finished_run_is_not_changed(run, tmp_path, given, said):
    run(settings())
    assert read(tmp_path, "run.json")["finished"] == 6
    (tmp_path / "model" / "vocabulary.json").write_text("calibrated since")
    before = content(tmp_path)
    assert any(line.startswith(said) for line in run(settings(**given)))
    assert content(tmp_path) == before


def test_more_epochs_go_on(run, tmp_path):
    run(settings())
    assert "changed since step 6: stages.0.epochs 2.0 → 3.0" in run(settings(epochs=3))
    assert read(tmp_path, "run.json")["finished"] == 9


def test_a_second_run_in_the_folder_is_refused(run, tmp_path):
    with (
        only_writer(tmp_path, "", ""),
        pytest.raises(UsageError, match="another run trains here; wait until it is done"),
    ):
        run(settings())


def test_a_folder_that_can_be_none_of_a_run(data, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    with pytest.raises(UsageError, match=r"file: is a file; give a folder for the run"):
        train(settings(), data, tmp_path / "file")
    with pytest.raises(UsageError, match=r"model: holds a model; give another folder for the run"):
        train(settings(), data, tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]


def test_data_that_are_no_folder(data, tmp_path):
    command = r"pairs\.jsonl: is a file; .*--data .* --set 'sources=\[\"pairs\.jsonl\"\]'"
    with pytest.raises(UsageError, match=command):
        train(settings(), data / "pairs.jsonl", tmp_path / "run")
    with pytest.raises(UsageError, match="gone: no such folder"):
        train(settings(), data / "gone", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_order_of_the_tags_is_refused(run, data, tmp_path):
    """A weight would belong to another tag without any error."""
    names = tmp_path / "names.txt"
    names.write_text("red\ngreen\nblue\nyellow\nsquare\ncircle\n")
    given = settings(vocabulary=VocabularyConfig(tags=str(names)))
    run(given, stop_after=0)
    names.write_text("red\ngreen\nyellow\nblue\nsquare\ncircle\n")
    before = content(tmp_path)
    with pytest.raises(UsageError, match="the tags of the model have changed since the run began"):
        run(given)
    assert content(tmp_path) == before
    names.write_text("red\ngreen\nblue\nyellow\nsquare\ncircle\n")
    assert "resumed at step 1" in run(given)


def test_other_data_are_named_before_the_model_that_would_come_of_them(tmp_path):
    """With one more tag, changed data used to be reported as a checkpoint of another model."""
    write_pictures(tmp_path)
    train(settings(), tmp_path, tmp_path / "run", list, stop_after=0)
    table = tmp_path / "pairs.jsonl"
    table.write_text(table.read_text().replace('"red"', '"teal"', 1))
    with pytest.raises(UsageError, match=r"pairs\.jsonl: 24: the data have changed since the run began"):
        train(settings(), tmp_path, tmp_path / "run", list)


def test_other_validation_data_are_reported(tmp_path):
    rows = write_pictures(tmp_path)
    write_rows(tmp_path / "held-out.jsonl", rows[:4])
    given, said = settings(validation=("held-out.jsonl",)), []
    train(given, tmp_path, tmp_path / "run", said.append, stop_after=0)
    assert not any("validation data have changed" in line for line in said)
    write_rows(tmp_path / "held-out.jsonl", rows[4:8])
    train(given, tmp_path, tmp_path / "run", said.append, stop_after=0)
    warning = "warning: the validation data have changed since; figures before and after cannot be compared"
    assert said.count(warning) == 1
    train(given, tmp_path, tmp_path / "run", said.append)
    assert said.count(warning) == 1


def test_a_damaged_record_is_not_taken_for_a_run_without_an_end(run, tmp_path):
    """The model may have been calibrated since, and would be written again."""
    run(settings(epochs=1))
    (tmp_path / "run.json").write_text("{")
    before = content(tmp_path)
    with pytest.raises(UsageError, match=r"run\.json: is damaged; restore it, or delete it"):
        run(settings(epochs=1))
    assert content(tmp_path) == before
    (tmp_path / "run.json").unlink()
    assert any("this run is finished" in line for line in run(settings(epochs=1)))
