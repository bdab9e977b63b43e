"""Ray works in silence, also when it loses a worker: what is printed is ours."""

import os
import socket
import subprocess
import sys

import pytest
from conftest import ROOT, require_module

from anytag.errors import UsageError
from anytag.foundations.ray_cluster import join_cluster

PROGRAM = """
import os
from pathlib import Path
from anytag.foundations.ray_cluster import RayWorkers, quiet_data

class Worker:
    def __init__(self, died):
        self.died = died

    def __call__(self, row):
        if row["number"] == 3 and not self.died.exists():
            self.died.touch()
            os.kill(os.getpid(), 9)
        print("a worker speaks")
        return {**row, "priority": os.nice(0)}

workers = RayWorkers(2)
workers.connect()
with quiet_data(in_order=True) as data:
    rows = data.from_items([{"number": number} for number in range(6)], override_num_blocks=6)
    done = rows.map(Worker, fn_constructor_args=(Path("died"),), **workers.pool(6))
    rows = list(done.iter_rows())
    print([row["number"] for row in rows], {row["priority"] for row in rows} == {os.nice(0)})
"""


def test_nothing_is_printed_but_what_the_program_prints(tmp_path):
    """And workers have the priority of the program, not Ray's lowest."""
    require_module("ray", "cluster")
    settings = {"PYTHONPATH": str(ROOT / "src"), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace('"died"', repr(str(tmp_path / "died")))],
        env={name: value for name, value in os.environ.items() if name != "RAY_worker_niceness"} | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (tmp_path / "died").exists()
    assert (done.stdout, done.stderr, done.returncode) == ("[0, 1, 2, 3, 4, 5] True\n", "", 0)


@pytest.mark.parametrize("where", ["argument", "variable"])
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_without_a_server_fails_at_once(monkeypatch, scheme, where):
    require_module("ray", "cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address if where == "variable" else "")
        with pytest.raises(UsageError) as error:
            join_cluster(address if where == "argument" else None)
    assert str(error.value) == (
        f"no Ray cluster answers at {address!r} (Connection refused); start one with 'ray start --head', give its "
        "address, or take 'local' for one on this machine"
    )
