"""Measure whole processes: wall-clock time, processor time, peak memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """Measurements of a process.

    Attributes:
        seconds: Wall-clock time.
        cpu_seconds: Processor time, which is meaningful on a busy machine, too.
        peak_mb: Largest resident memory, in 10^6 bytes.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float


_STARTER = """
import json, os, sys, time
null = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDONLY if n == 0 else os.O_WRONLY, 0) for n in (0, 1, 2)]
started = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=null)
_, status, used = os.wait4(process, 0)
seconds = time.perf_counter() - started
code = os.waitstatus_to_exitcode(status)
print(json.dumps([code, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def command(*arguments: str) -> list[str]:
    """The ``anytag`` command of this Python's environment."""
    program = Path(sys.executable).with_name("anytag")
    if not program.exists():
        raise SystemExit(f"{program} is missing; install the package into this environment first: pip install .")
    return [str(program), *arguments]


def run(arguments: Sequence[str]) -> Run:
    """Run a command and discard its output.

    Raises:
        SystemExit: If it fails.
    """
    # Linux counts the parent's memory in a child's peak, so start it from a bare interpreter.
    starter = [sys.executable, "-I", "-S", "-c", _STARTER, *arguments]
    finished = subprocess.run(starter, check=True, capture_output=True, text=True)
    code, seconds, cpu_seconds, peak = json.loads(finished.stdout)
    if code:
        raise SystemExit(f"{' '.join(arguments[:3])} … ended with code {code}")
    # Linux counts in KiB, macOS in bytes.
    return Run(seconds, cpu_seconds, peak * (1 if sys.platform == "darwin" else 1024) / 1e6)


def median_of(arguments: Sequence[str], runs: int) -> Run:
    """Medians of several runs after one that warms the file cache; the maximum for memory."""
    run(arguments)
    several = [run(arguments) for _ in range(runs)]
    return Run(
        statistics.median(r.seconds for r in several),
        statistics.median(r.cpu_seconds for r in several),
        max(r.peak_mb for r in several),
    )
