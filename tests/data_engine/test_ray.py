"""A local Ray cluster of two workers does what one process does, even if it loses one of them."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import require_module
from toy_engine import CLEANING, ToyModel, many_samples, outputs, run_all, shards, toy_model

from anytag.data_engine.executors import RayExecutor
from anytag.data_engine.pipeline import Engine
from anytag.errors import ModelError, UsageError


@pytest.fixture(scope="module")
def cluster():
    require_module("ray", "cluster")
    import ray

    here = Path(__file__).parent
    # Workers import the toy model from here, and nobody is told of the cluster.
    variables = {"PYTHONPATH": f"{here.parent}:{here}", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
        runtime_env={"env_vars": variables},
    )
    yield ray
    ray.shutdown()


@dataclass(frozen=True)
class DyingModel(ToyModel):
    """The first process that loads it is killed on the spot; others find the mark that it has left."""

    def load(self):
        try:
            (self.path.parent / "killed").touch(exist_ok=False)
        except FileExistsError:
            return super().load()
        os.kill(os.getpid(), signal.SIGKILL)


def test_two_workers_one_of_which_is_killed_give_what_one_process_gives(cluster, tmp_path):
    source = shards(tmp_path, *(many_samples(9, seed) for seed in range(4)))
    model = toy_model(tmp_path / "model")
    run_all(tmp_path / "alone", source, model)
    engine = Engine(tmp_path / "cluster")
    engine.parse(source, model.path / "vocabulary.json")
    engine.executor = RayExecutor(2)
    reports = [engine.generate(source, DyingModel(model.path)), engine.clean(source, model, CLEANING), engine.merge()]
    assert (tmp_path / "killed").exists()
    assert outputs(tmp_path / "cluster") == outputs(tmp_path / "alone")
    assert [report.failed for report in reports] == [0, 0, 0]
    # What is done is not done again.
    assert engine.generate(source, model).pictures_now == 0


def test_errors_of_workers_come_back_as_they_are(cluster, tmp_path):
    source = shards(tmp_path, many_samples(2), many_samples(2, 1))
    silent = toy_model(tmp_path / "silent", captioner=False)
    engine = Engine(tmp_path / "work")
    engine.parse(source, silent.path / "vocabulary.json")
    engine.executor = RayExecutor(2)
    with pytest.raises(ModelError, match=r"generate: .*this model tags pictures but does not write captions"):
        engine.generate(source, silent)


def test_no_workers():
    with pytest.raises(UsageError, match="workers is 0"):
        RayExecutor(0)
