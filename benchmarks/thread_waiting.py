"""Measure a training step beside another job: ``python benchmarks/thread_waiting.py [--seconds 4]``.

A step of small convolutions and attention, forward and backward, on two threads: idle, beside a job that keeps the
first of their two processors busy, and bound to that one processor alone. ``passive`` is how ``anytag train`` lets
threads wait, ``default`` is how PyTorch does. Every case is a process of its own, since a process cannot change its
mind.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _common import RESULTS, machine, table, target, write_targets

from anytag.foundations.cpu_count import available_processors, wait_passively

#: A step beside another job on one of two processors may take so many times the idle one.
MOST = 2.5
CASES = ("idle", "beside a job", "on one processor")
#: The other job.
SPIN = "while True: pass"


def measure(seconds: float) -> None:
    """Print seconds a step, of the wall clock and of processors."""
    import torch
    from torch import nn

    torch.set_num_threads(min(2, available_processors()))
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU()]
    for _ in range(8):
        layers += [nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 1)]
    encoder = nn.Sequential(*layers)
    decoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(192, 4, 384, batch_first=True), 2)
    pictures, queries = torch.randn(16, 3, 64, 64), torch.randn(16, 100, 192)

    def step() -> None:
        encoder(pictures).mean().backward()
        decoder(queries).mean().backward()

    step()
    steps, wall, used = 0, time.perf_counter(), time.process_time()
    while steps < 2 or time.perf_counter() - wall < seconds:
        step()
        steps += 1
    print((time.perf_counter() - wall) / steps, (time.process_time() - used) / steps)


def run_case(policy: str, case: str, seconds: float) -> dict[str, Any]:
    """Measure one case in a process of its own."""
    processors = sorted(os.sched_getaffinity(0))[:2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "KMP_", "GOMP_"))}
    used = processors[:1] if case == "on one processor" else processors
    command = [sys.executable, __file__, "--measure", policy, "--seconds", str(seconds)]
    other = None
    if case == "beside a job":
        other = subprocess.Popen([sys.executable, "-c", SPIN])
        os.sched_setaffinity(other.pid, processors[:1])
    before = os.getloadavg()[0]
    try:
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            if case == "on one processor":
                # After it has counted its processors, as when a scheduler moves a process.
                time.sleep(0.2)
            os.sched_setaffinity(process.pid, used)
            printed, _ = process.communicate()
    finally:
        if other is not None:
            other.kill()
            other.wait()
    wall, worked = map(float, printed.split())
    return {"policy": policy, "case": case, "seconds": wall, "processor_seconds": worked, "load_before": before}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=4.0, help="of each case")
    arguments.add_argument("--rounds", type=int, default=3, help="the best of so many counts")
    arguments.add_argument("--out", type=Path, default=RESULTS / "thread_waiting.json")
    arguments.add_argument("--measure", choices=["passive", "default"], help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.measure:
        if given.measure == "passive":
            wait_passively()
        measure(given.seconds)
        return
    runs = [
        run_case(policy, case, given.seconds)
        for _ in range(given.rounds)
        for policy in ("default", "passive")
        for case in CASES
    ]
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        key = (run["policy"], run["case"])
        if key not in best or run["seconds"] < best[key]["seconds"]:
            best[key] = run
    rows = [[policy, case, found["seconds"], found["processor_seconds"]] for (policy, case), found in best.items()]
    table("a step", ["threads wait", "case", "seconds", "processor seconds"], rows)
    idle = best["passive", "idle"]["seconds"]
    targets = [
        target("beside a job, passive / idle, passive", best["passive", "beside a job"]["seconds"] / idle, MOST, False),
        target("idle, passive / idle, default", idle / best["default", "idle"]["seconds"], 1.1, False),
    ]
    write_targets(given.out, targets, {"machine": machine(), "seconds_of_a_case": given.seconds, "runs": runs})


if __name__ == "__main__":
    main()
