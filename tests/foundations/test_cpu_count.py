"""Processors by affinity, control group and load."""

import os
import subprocess
import sys
import time

import pytest

from anytag.foundations import cpu_count
from anytag.foundations.cpu_count import available_processors, processors_are_free


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


def test_other_load_is_all_work_minus_our_own(monkeypatch, tmp_path):
    """Of four processors, this process may use two; others keep one and a half of them busy."""
    times, now = tmp_path / "stat", [0.0, 0.0]
    monkeypatch.setattr(cpu_count, "_PROCESSOR_TIMES", times)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2}, raising=False)
    monkeypatch.setattr(os, "sysconf", lambda name: 100, raising=False)
    monkeypatch.setattr(cpu_count.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(cpu_count.time, "process_time", lambda: now[1])
    # user nice system idle iowait irq softirq steal guest guest_nice
    nothing = " 0" * 7 + "\n"
    times.write_text(f"cpu 9 9 9 9 9 9 9 9 9 9\ncpu0 0{nothing}cpu1 0{nothing}cpu2 5{nothing}intr 3\n")
    work = cpu_count.OtherProcessLoad()
    now[:] = [10.0, 5.0]
    times.write_text(f"cpu0 200 300 100 99 99 50 50 300 77 0\ncpu1 1000{nothing}cpu2 1005{nothing}")
    # 10 s of cpu0, 10 s of cpu2, less 5 s of our own, in 10 s.
    assert work.processors() == pytest.approx(1.5)
    now[:] = [12.0, 8.0]
    assert work.processors() == 0.0, "less than nothing is the system's rounding"


@pytest.mark.skipif(not cpu_count._PROCESSOR_TIMES.exists(), reason="/proc is Linux")
def test_a_child_process_counts():
    work = cpu_count.OtherProcessLoad()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as job:
        time.sleep(0.6)
        others = work.processors()
        job.kill()
    assert others > 0.2
