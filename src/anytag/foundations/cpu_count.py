"""The number of processors that are available, and the load of other processes on them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_PROCESSOR_TIMES = Path("/proc/stat")

#: Load of an idle machine, in processors.
_IDLE = 0.5


def available_processors() -> int:
    """Return the processors that this process may use; containers and schedulers may limit them."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas())]))


def processors_are_free(count: int) -> bool:
    """Return whether so many processors were idle in the last minute; ``False`` if that is unknown."""
    try:
        return os.getloadavg()[0] + count <= (os.cpu_count() or 1) + _IDLE
    except (OSError, AttributeError):
        return False


class OtherProcessLoad:
    """The processor time of other processes on this process's processors; Linux only.

    Raises:
        OSError: If the system does not tell.
    """

    def __init__(self) -> None:
        self._tick = os.sysconf("SC_CLK_TCK")
        self._before = self._read()

    def processors(self) -> float:
        """Return the mean number of processors that other processes, also children, kept busy since the last call."""
        before, self._before = self._before, self._read()
        seconds, used, own = (now - then for now, then in zip(self._before, before, strict=True))
        return max(0.0, used - own) / seconds if seconds > 0 else 0.0

    def _read(self) -> tuple[float, float, float]:
        """Return seconds by the clock, of all work on our processors, and of this process."""
        names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        ticks = 0
        for line in _PROCESSOR_TIMES.read_text(encoding="ascii").splitlines():
            name, *times = line.split()
            if name in names:
                # user, nice, system, idle, waiting for the disk, interrupts, soft interrupts, other virtual machines
                ticks += sum(int(times[place]) for place in (0, 1, 2, 5, 6, 7))
        return time.monotonic(), ticks / self._tick, time.process_time()


def _quotas() -> Iterator[float]:
    """Yield the processors that Linux control groups (containers, Slurm) allow this process."""
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
