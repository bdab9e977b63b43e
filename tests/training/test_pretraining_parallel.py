"""A run in two processes, and one process that goes on with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from toy_pairs import config, write_pictures  # noqa: E402

import anytag  # noqa: E402
from anytag.training.pretraining import pretrain  # noqa: E402


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_share_the_data_and_one_goes_on(tmp_path, parallel):
    """Four pictures each of the first batch of eight; what neither had is left for the one."""
    write_pictures(tmp_path)
    script = [str(Path(__file__).with_name("toy_pairs.py")), str(tmp_path), str(tmp_path / "run"), parallel]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    states = json.loads((tmp_path / "run" / "positions-000000001.json").read_text())
    assert [(state["consumer"], state["position"]["taken"]) for state in states] == [(0, 4), (1, 4)]
    # The first process alone writes; the model after one step is there already.
    assert done.stdout.count("tag2text: ") == 1
    assert len(anytag.load(tmp_path / "run" / "model", backend="torch").vocabulary) == 6
    lines = []
    assert pretrain(config(), tmp_path, tmp_path / "run", lines.append)
    assert "resumed at step 1" in lines
    (state,) = json.loads((tmp_path / "run" / "positions-000000006.json").read_text())
    # Sixteen pictures were left of the first epoch, and a second one of twenty-four.
    assert (state["position"]["epoch"], state["position"]["taken"]) == (1, 24)
