"""Two processes under ``torchrun`` train like one: losses, weights, checkpoints, a kill in between."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import parallel_run
import pytest
import torch

from anytag.errors import UsageError
from anytag.training.engine.distributed import Share, Strategy, connect, find_place

#: A softmax does not change with the keys' bias: its gradient is rounding, of which Adam makes full steps.
ROUNDING = ("key.bias", "query_key_value.bias")


def torchrun(folder, what, *options):
    """Two processes of ``parallel_run.py``."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *options]
    # If torchrun keeps its store over a restart, the new processes look for the dead ones (PyTorch 2.13).
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    done = subprocess.run(
        [*command, parallel_run.__file__, str(folder), str(what)],
        env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run folders: of one process, then of two. Two also resume the checkpoint of one that was stopped."""
    folder = tmp_path_factory.mktemp("runs")
    parallel_run.run(folder / "one")
    for parallel in ("ddp", "fsdp"):
        parallel_run.run(folder / f"{parallel}-of-one", stop=12)
    torchrun(folder, "everything")
    return folder


def result(folder):
    return json.loads((folder / "result.json").read_text())


def losses(folder):
    return {int(number): value for number, value in result(folder)["losses"].items()}


def assert_same_training(runs, name, steps=range(24)):
    ours, expected = losses(runs / name), losses(runs / "one")
    assert list(ours) == list(steps)
    assert [ours[step] for step in steps] == pytest.approx([expected[step] for step in steps], abs=1e-5)
    weights, others = (torch.load(runs / folder / "weights.pt") for folder in (name, "one"))
    for kind in ("model", "average"):
        assert weights[kind].keys() == others[kind].keys()
        for key, tensor in weights[kind].items():
            if not key.endswith(ROUNDING):
                torch.testing.assert_close(tensor, others[kind][key], rtol=0, atol=1e-4, msg=f"{kind} {key}")


PARALLEL = pytest.mark.parametrize("parallel", ["ddp", "fsdp"])


class TestTwoProcesses:
    @PARALLEL
    def test_they_train_as_one_does(self, runs, parallel):
        assert_same_training(runs, parallel)
        assert result(runs / parallel)["world"] == 2

    @PARALLEL
    def test_with_micro_batches(self, runs, parallel):
        assert_same_training(runs, f"{parallel}-accumulated")

    @PARALLEL
    def test_the_log_is_written_once_and_holds_means(self, runs, parallel):
        lines, others = (
            [json.loads(line) for line in (runs / name / "log.jsonl").read_text().splitlines()]
            for name in (parallel, "one")
        )
        assert len(lines) == len(others) == 9
        for line, other in zip(lines, others, strict=True):
            assert line.keys() == other.keys()
            if "validation" in line:
                assert line["validation"] == pytest.approx(other["validation"], rel=1e-3)
            else:
                assert line["square"] == pytest.approx(other["square"], rel=2e-3)
                assert line["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=2e-3)

    def test_fsdp_divides_all_but_scalars(self, runs):
        whole, held = result(runs / "ddp")["held"], result(runs / "fsdp")["held"]
        assert whole["attention.query.weight"] == 36
        assert held["attention.query.weight"] == 18
        assert held["image_encoder.weight"] == 12
        assert held["scale"] == whole["scale"] == 1


class TestCheckpoints:
    @PARALLEL
    def test_two_go_on_where_one_stopped(self, runs, parallel):
        name = f"{parallel}-of-one"
        assert result(runs / name)["resumed"]
        assert_same_training(runs, name, range(10, 24))

    @PARALLEL
    def test_one_goes_on_where_two_stopped(self, runs, parallel):
        name = f"{parallel}-stopped"
        kept = sorted(path.name for path in (runs / name).glob("checkpoint*"))
        assert kept == (["checkpoint.pt"] if parallel == "ddp" else ["checkpoint-000000010"])
        parallel_run.run(runs / name)
        assert (result(runs / name)["resumed"], result(runs / name)["world"]) == (True, 1)
        assert_same_training(runs, name, range(10, 24))
        assert [path.name for path in (runs / name).glob("checkpoint*")] == ["checkpoint.pt"]

    def test_a_newer_checkpoint_of_one_process_comes_first(self, runs, tmp_path):
        (tmp_path / "checkpoint-000000010").symlink_to(runs / "fsdp" / "checkpoint-000000024")
        assert parallel_run.make(tmp_path, parallel_run.Step()).checkpoint_path.name == "checkpoint-000000010"
        (tmp_path / "checkpoint.pt").symlink_to(runs / "ddp" / "checkpoint.pt")
        assert parallel_run.make(tmp_path, parallel_run.Step()).checkpoint_path.name == "checkpoint.pt"
        (tmp_path / "checkpoint-000000011.part").mkdir()
        (tmp_path / "checkpoint-000000099").mkdir()
        assert parallel_run.make(tmp_path, parallel_run.Step()).checkpoint_path.name == "checkpoint-000000099"

    def test_a_process_killed_at_a_random_step(self, runs, tmp_path):
        """``torchrun`` starts both again; with dropout, so that each process's own generator matters."""
        step = random.randrange(6, 24)
        torchrun(tmp_path, step, "--max-restarts=1")
        assert result(tmp_path)["resumed"], step
        weights, others = (torch.load(folder / "weights.pt") for folder in (tmp_path, runs / "dropout"))
        for kind in ("model", "average"):
            for key, tensor in weights[kind].items():
                assert torch.equal(tensor, others[kind][key]), f"{key}, killed at step {step}"


class TestPublishedObjective:
    """Tag2Text with contrast and matching: each process has its own pictures, all contrast with all."""

    def test_fsdp_learns_what_ddp_does(self, runs):
        """And the same with activation checkpointing."""
        expected, ours = (torch.load(runs / f"{name}-published" / "result.pt") for name in ("ddp", "fsdp"))
        assert len(expected["losses"]) == 2
        assert len(expected["losses"][0]) == 4
        assert len(expected["losses"][0][0]) == 5  # the total and four parts
        torch.testing.assert_close(torch.tensor(ours["losses"]), torch.tensor(expected["losses"]), rtol=1e-5, atol=0)
        assert expected["losses"][0] != expected["losses"][1]
        assert ours["weights"].keys() == expected["weights"].keys()
        for name, tensor in expected["weights"].items():
            if not name.endswith(ROUNDING):
                torch.testing.assert_close(ours["weights"][name], tensor, rtol=0, atol=1e-5, msg=name)
        assert expected["weights"]["objective.encoder.temperature"] != pytest.approx(0.07, abs=1e-4)

    @PARALLEL
    def test_queues_stay_alike(self, runs, parallel):
        one, two = torch.load(runs / f"{parallel}-published" / "result.pt")["queues"]
        # Four steps of three rows each from two processes go through seven slots.
        assert one["pointer"] == 24 % 7
        for key, tensor in one.items():
            assert torch.equal(tensor, two[key]), key


class TestShare:
    def test_shares_are_the_batch(self):
        shares = [Share(rank, 2, micro, 3) for rank in range(2) for micro in range(3)]
        assert [share.index for share in shares] == list(range(6))
        rows = [row for share in shares for row in range(12)[share.rows(12)]]
        assert rows == list(range(12))
        assert range(12)[Share(1, 2, 0, 3).rows(12)] == range(6, 8)

    def test_alone_it_is_all(self):
        assert range(7)[Share().rows(7)] == range(7)


class TestOneProcess:
    @PARALLEL
    def test_without_torchrun_there_is_nothing_to_share(self, parallel, monkeypatch):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        strategy = connect(parallel)
        assert type(strategy) is Strategy
        assert (strategy.rank, strategy.world, strategy.is_first) == (0, 1, True)

    def test_where_it_trains(self, monkeypatch):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        assert find_place("cpu") == find_place(None, "cpu") == torch.device("cpu")
        with pytest.raises(UsageError, match="device 'cuda': this recipe trains on cpu only; leave the device out"):
            find_place("cuda", "cpu")
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert find_place("cpu") == torch.device("cpu")
        with pytest.raises(UsageError, match="under torchrun every process takes one of its own; leave the number out"):
            find_place("cuda:1")

    def test_a_batch_that_cannot_be_divided(self, tmp_path):
        with pytest.raises(UsageError) as caught:
            parallel_run.make(tmp_path, parallel_run.Step(), accumulate=3)
        assert str(caught.value) == (
            "a batch of 8 cannot be divided evenly among 1 processes with 3 micro-batches each; set batch_size to a "
            "multiple of 3"
        )
