"""Processors by affinity, control group and load."""

import os
import subprocess
import sys

import pytest

from anytag.foundations import cpu_count
from anytag.foundations.cpu_count import available_processors, processors_are_free, wait_passively


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A folder in the place of the system's control groups; the process has eight processors."""
    monkeypatch.setattr(cpu_count, "_CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    (tmp_path / "job").mkdir()
    read = cpu_count.Path.read_text

    def read_text(path, *more, **named):
        return "0::/job/step\n" if str(path) == "/proc/self/cgroup" else read(path, *more, **named)

    monkeypatch.setattr(cpu_count.Path, "read_text", read_text)
    return tmp_path


@pytest.mark.parametrize(
    ("outer", "inner", "count"),
    [
        ("max 100000", "max 100000", 8),
        ("max 100000", "150000 100000", 2),
        ("300000 100000", "max 100000", 3),
        ("10000 100000", "max 100000", 1),
        ("broken", "900000 100000", 8),
    ],
)
def test_the_smallest_limit_counts(groups, outer, inner, count):
    (groups / "job" / "step").mkdir()
    (groups / "job" / "cpu.max").write_text(outer)
    (groups / "job" / "step" / "cpu.max").write_text(inner)
    assert available_processors() == count


def test_without_control_groups_affinity_counts(groups):
    assert available_processors() == 8


@pytest.mark.parametrize(("load", "wanted", "free"), [(0.2, 4, True), (1.2, 4, False), (1.2, 3, True), (9.0, 1, False)])
def test_processors_that_others_use_are_not_free(monkeypatch, load, wanted, free):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    assert processors_are_free(wanted) is free


def test_threads_wait_as_the_user_says(monkeypatch):
    monkeypatch.delenv("KMP_BLOCKTIME", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_passively()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["KMP_BLOCKTIME"]) == ("ACTIVE", "0")


def test_the_command_line_says_so_before_pytorch_is_there(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    code = "import os, sys; from anytag.cli._process import run_command\n"
    code += "run_command(lambda: print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "PASSIVE"]
