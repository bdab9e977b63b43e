"""How many processors there are to use, and how threads wait for each other on them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")

#: Load that an idle machine has, in processors.
_IDLE = 0.5


def available_processors() -> int:
    """Processors that this process may use; fewer than there are in a container or under a scheduler."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas())]))


def processors_are_free(count: int) -> bool:
    """Whether so many processors had nothing else to do in the last minute; ``False`` where nobody can say."""
    try:
        return os.getloadavg()[0] + count <= (os.cpu_count() or 1) + _IDLE
    except (OSError, AttributeError):
        return False


def wait_passively() -> None:
    """Let the threads of OpenMP, which PyTorch computes with, sleep while they wait, unless the user decides otherwise.

    By default they spin: a thread that waits for another one then keeps a processor busy, and where other programs run
    beside it, the thread that is waited for does not get one. A step of training took seven times as long or more
    (``benchmarks/thread_waiting.py``). This has to be called before PyTorch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # The same for Intel's and LLVM's OpenMP.


def _quotas() -> Iterator[float]:
    """Processors' worth of time that control groups of Linux (containers, Slurm) give to this process."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        root = _CONTROL_GROUPS if not controllers else _CONTROL_GROUPS / "cpu"
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = root / name.lstrip("/")
        for folder in (group, *group.parents):
            if quota := _quota(folder):
                yield quota
            if folder == root:
                break


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():
            time, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            time, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
        # "max" or -1 is no limit.
        return int(time) / int(period) if time.strip() not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
