"""A run in two processes, resumed by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

torch = pytest.importorskip("torch")

from toy_pairs import WHOLE_BATCHES, config, write_pictures, write_rows  # noqa: E402

import anytag  # noqa: E402
from anytag.training.run import train  # noqa: E402


def torchrun(data, run, what, timeout=900):
    """Output of two processes of ``toy_pairs.py``."""
    script = [str(ROOT / "tests" / "support" / "toy_pairs.py"), str(data), str(run), what]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_share_the_data_and_one_goes_on(tmp_path, parallel):
    """Each process trains on four pictures of the first batch; the other pictures are left for the single process."""
    write_pictures(tmp_path)
    printed = torchrun(tmp_path, tmp_path / "run", parallel)
    states = json.loads((tmp_path / "run" / "positions-000000001.json").read_text())
    assert [(state["consumer"], state["position"]["taken"]) for state in states] == [(0, 4), (1, 4)]
    # The first process alone writes; the model after one step is there already.
    assert printed.count("tag2text: ") == 1
    assert len(anytag.load(tmp_path / "run" / "model", backend="torch").vocabulary) == 6
    lines = []
    assert train(config(), tmp_path, tmp_path / "run", lines.append)
    assert "resumed at step 1" in lines
    (state,) = json.loads((tmp_path / "run" / "positions-000000006.json").read_text())
    # Sixteen pictures were left of the first epoch, and a second one of twenty-four.
    assert (state["position"]["epoch"], state["position"]["taken"]) == (1, 24)


def test_one_of_two_processes_has_nothing_to_learn_from(tmp_path):
    """With the image encoder frozen, a process without tags still needs gradients, which the other waits for."""
    rows = write_pictures(tmp_path, captions=False)
    for row in rows[1::2]:
        row.pop("tags")
    write_rows(tmp_path / "pairs.jsonl", rows)
    torchrun(tmp_path, tmp_path / "run", "uneven")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 3
    assert log[-1]["tagging"] > 0


def test_tags_alone_learn_the_same_however_the_batch_is_shared(tmp_path):
    """Their loss is a sum over pictures, and losses of processes and micro-batches are averaged."""
    write_pictures(tmp_path, count=8, captions=False)
    runs = {name: tmp_path / name for name in ("one", "micro", "two")}
    train(config(**WHOLE_BATCHES), tmp_path, runs["one"], lambda line: None)
    train(config(accumulate=4, **WHOLE_BATCHES), tmp_path, runs["micro"], lambda line: None)
    torchrun(tmp_path, runs["two"], "whole")
    logs = {
        name: [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for name, run in runs.items()
    }
    weights = {name: torch.load(run / "checkpoint.pt", weights_only=False)["model"] for name, run in runs.items()}
    for shared in ("micro", "two"):
        for figure in ("tagging", "gradient_norm"):
            expected = [record[figure] for record in logs["one"] if figure in record]
            assert len(expected) == 3
            found = [record[figure] for record in logs[shared] if figure in record]
            assert found == pytest.approx(expected, rel=1e-3), (shared, figure)
        for name, values in weights["one"].items():
            assert torch.allclose(weights[shared][name], values, atol=1e-4), (shared, name)
