"""A local Ray cluster of two workers does what one process does, even if it loses one of them."""

import pytest
from conftest import ROOT, require_module
from toy_engine import CLEANING, DyingModel, many_samples, outputs, run_all, shards, toy_model

from anytag.data_engine.executors import LocalExecutor, RayExecutor
from anytag.data_engine.pipeline import Engine
from anytag.errors import ModelError, UsageError


@pytest.fixture(scope="module")
def cluster():
    require_module("ray", "cluster")
    import ray

    here = ROOT / "tests" / "support"
    with pytest.MonkeyPatch.context() as patch:
        # Workers inherit these. They import the toy model from here; and by default they have the lowest priority, and
        # would wait for whatever else runs.
        patch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{here.parent}:{here}")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
        yield ray
        ray.shutdown()


def test_two_workers_one_of_which_is_killed_give_what_one_process_gives(cluster, tmp_path):
    source = shards(tmp_path, *(many_samples(9, seed) for seed in range(4)))
    model = toy_model(tmp_path / "model")
    run_all(tmp_path / "alone", source, model)
    engine = Engine(tmp_path / "cluster")
    engine.parse(source, model.path / "vocabulary.json")
    engine.executor = RayExecutor(2)
    # The first worker that loads this model is killed with its part begun.
    reports = [engine.generate(source, DyingModel(model.path)), engine.clean(source, model, CLEANING)]
    assert (tmp_path / "killed").exists()
    engine.executor = LocalExecutor()
    engine.merge()
    assert outputs(tmp_path / "cluster") == outputs(tmp_path / "alone")
    assert [report.failed for report in reports] == [0, 0]
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
