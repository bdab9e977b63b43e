"""External loggers: the installed TensorBoard; Weights & Biases and MLflow by their documented API."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
from conftest import require_module
from toy_run import config, make, records, stopping

from anytag.errors import MissingExtraError, UsageError


def figures(folder, kind):
    """Metrics of training or validation in the log, by step."""
    return {
        record["step"]: record["validation"] if kind == "validation" else record
        for record in records(folder)
        if ("validation" in record) == (kind == "validation")
    }


class TestTensorBoard:
    def test_the_log_is_written_for_it_too(self, tmp_path):
        require_module("tensorboard")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        settings = config(loggers=("tensorboard",))
        make(tmp_path, settings, step=stopping(17)).run(stop_after=0)
        loop = make(tmp_path, settings)
        loop.resume()
        loop.run()
        events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        lines = [record for record in records(tmp_path) if "square" in record]
        written = [(event.step, event.value) for event in events.Scalars("training/square")]
        assert written == [(line["step"], pytest.approx(line["square"])) for line in lines]
        assert [event.step for event in events.Scalars("validation/final")] == [10, 20, 24]

    def test_without_it_there_is_no_folder(self, tmp_path):
        make(tmp_path).run(stop_after=0)
        assert not (tmp_path / "tensorboard").exists()

    @pytest.mark.parametrize(
        ("name", "module"),
        [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow")],
    )
    def test_what_to_install(self, tmp_path, monkeypatch, name, module):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError) as caught:
            make(tmp_path, config(loggers=(name,)))
        assert str(caught.value).endswith(f"Install it with: pip install 'anytag[{name}]'")


class FakeWandb:
    """``wandb.init(project, name, id, resume, dir, config, …) -> Run``; ``Run.log(data, step)``, ``Run.finish()``.

    As documented, a step below the last one is not taken.
    """

    def __init__(self):
        self.begun, self.runs = [], {}

    def init(self, *, project, name, id, resume, dir, config, allow_val_change):
        assert resume == "allow"
        self.begun.append({"project": project, "name": name, "id": id, "dir": dir, "config": config})
        run = self.runs.setdefault(id or f"made-{len(self.runs)}", SimpleNamespace(history={}, finished=0))
        known = id or f"made-{len(self.runs) - 1}"

        def log(data, *, step):
            if step >= max(run.history, default=0):
                run.history.setdefault(step, {}).update(data)

        def finish():
            run.finished += 1

        return SimpleNamespace(id=known, log=log, finish=finish)


class FakeMlflow:
    """The fluent API: ``start_run(run_id, run_name)``, ``log_metrics(metrics, step)``, ``log_dict``, ``end_run``."""

    def __init__(self):
        self.runs, self.active = {}, None

    def start_run(self, *, run_id=None, run_name=None):
        assert self.active is None, "a run is active already"
        self.active = run_id or f"run-{len(self.runs)}"
        assert run_id is None or run_id in self.runs
        self.runs.setdefault(self.active, {"name": run_name, "metrics": [], "files": {}, "ended": 0})
        return SimpleNamespace(info=SimpleNamespace(run_id=self.active))

    def log_metrics(self, metrics, *, step):
        assert all(isinstance(value, float | int) for value in metrics.values())
        self.runs[self.active]["metrics"] += [(name, step, value) for name, value in metrics.items()]

    def log_dict(self, dictionary, artifact_file):
        self.runs[self.active]["files"][artifact_file] = json.loads(json.dumps(dictionary))

    def end_run(self):
        self.runs[self.active]["ended"] += 1
        self.active = None


def twice(folder, name):
    """A run that is stopped at step 1, and resumed in another process."""
    settings = config(loggers=(name,))
    make(folder, settings).run(stop_after=0)
    loop = make(folder, settings)
    assert loop.resume()
    assert loop.run()


def test_wandb_gets_one_run_with_all_figures(tmp_path, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_PROJECT", "tags")
    twice(tmp_path / "mine", "wandb")
    first, second = fake.begun
    assert (first["project"], first["name"], first["id"]) == ("tags", "mine", None)
    assert second["id"] == "made-0"
    assert json.loads((tmp_path / "mine" / "loggers.json").read_text()) == {"wandb": "made-0"}
    assert first["config"]["batch_size"] == 64
    (run,) = fake.runs.values()
    assert run.finished == 2
    for step, record in figures(tmp_path / "mine", "training").items():
        assert run.history[step]["training/square"] == record["square"]
    assert {step for step, values in run.history.items() if "validation/mean" in values} == {10, 20, 24}


def test_mlflow_gets_one_run_with_all_figures(tmp_path, monkeypatch):
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    twice(tmp_path / "mine", "mlflow")
    assert list(fake.runs) == ["run-0"]
    run = fake.runs["run-0"]
    assert (run["name"], run["ended"]) == ("mine", 2)
    assert run["files"]["recipe.json"]["seed"] == 3
    written = [(step, value) for name, step, value in run["metrics"] if name == "training/square"]
    assert written == [(step, record["square"]) for step, record in figures(tmp_path / "mine", "training").items()]


def test_a_service_that_cannot_begin_ends_the_run_before_its_first_step(tmp_path, monkeypatch):
    def refuse(**settings):
        raise ConnectionError("no route to host")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=refuse))
    with pytest.raises(UsageError) as caught:
        make(tmp_path, config(loggers=("wandb",))).run()
    assert str(caught.value) == (
        "loggers: wandb cannot begin a run (ConnectionError: no route to host); mend its settings, or leave it out"
    )
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_service_that_stops_answering_ends_no_run(tmp_path, monkeypatch):
    fake, lines = FakeMlflow(), []
    monkeypatch.setitem(sys.modules, "mlflow", fake)

    def log_metrics(metrics, *, step):
        if step > 4:
            raise ConnectionError("gone")

    fake.log_metrics = log_metrics
    assert make(tmp_path, config(loggers=("mlflow",)), lines=lines).run()
    warned = [line for line in lines if line.startswith("warning: ")]
    assert warned == ["warning: mlflow does not take the log of step 8 (gone); log.jsonl has it"]
