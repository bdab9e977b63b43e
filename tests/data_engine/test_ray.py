"""A local Ray cluster of two workers does what one process does, even if it loses one of them."""

import pytest
from fixtures_cluster import cluster  # noqa: F401 (a fixture)
from toy_engine import CLEANING, DyingModel, many_samples, outputs, run_all, shards, toy_model

from anytag.data_engine.executors import LocalExecutor, RayExecutor
from anytag.data_engine.pipeline import Engine
from anytag.errors import ModelError, UsageError


def test_two_workers_one_of_which_is_killed_give_what_one_process_gives(cluster, tmp_path):  # noqa: F811
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


def test_errors_of_workers_come_back_as_they_are(cluster, tmp_path):  # noqa: F811
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
