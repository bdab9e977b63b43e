"""Measure a training step while another job is running: ``python benchmarks/thread_waiting.py [--rounds 5]``.

A fine-tuning step of the shipped network (its sizes, random weights) on four pictures with two threads: on an idle
machine, with a job that keeps the first of the two processors busy, and on that processor alone. Every way of waiting
has its own process, because a process cannot switch. The processes take turns of some seconds, so that a slow phase of
the machine affects all of them. The ratios are medians over the turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from _common import RESULTS, machine, table, target, write_targets

from anytag.foundations.cpu_count import available_processors
from anytag.foundations.thread_waiting import spin_briefly, wait_passively

#: With another job on one of two processors, a step may take this many times an idle one.
MOST_BESIDE = 2.5
#: An idle step may take this many times one with spinning threads.
MOST_IDLE = 1.1
SPINNING, ASLEEP, OURS = "PyTorch's default", "asleep", "anytag"
CASES = ("idle", "beside a job", "on one processor")
PICTURES = 4
#: The other job.
BUSY = "while True: pass"


def measure() -> None:
    """Print seconds a step, of the wall clock and of processors, for every line read: how long to measure."""
    import torch

    from anytag.model.directory import find_model
    from anytag.nn.model import RecognitionModel

    torch.set_num_threads(min(2, available_processors()))
    torch.manual_seed(0)
    directory = find_model(None)
    model = RecognitionModel(directory.config, len(directory.vocabulary))
    size = directory.config.image_encoder.resolution
    pictures = torch.randn(PICTURES, 3, size, size)
    ids = torch.arange(len(directory.vocabulary))
    embeddings = torch.nn.functional.normalize(torch.randn(len(ids), directory.config.labels.width), dim=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def step() -> None:
        features, _ = model.encode(pictures)
        logits = model.recognition_decoder(features, model.label_queries(embeddings, ids))
        torch.nn.functional.softplus(logits).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    for line in sys.stdin:
        settled = time.perf_counter() + float(line) / 2
        step()
        while time.perf_counter() < settled:
            step()
        steps, wall, used = 0, time.perf_counter(), time.process_time()
        while steps < 2 or time.perf_counter() - wall < float(line):
            step()
            steps += 1
        print((time.perf_counter() - wall) / steps, (time.process_time() - used) / steps, flush=True)


class Worker:
    """A process with one way of waiting, which measures on request."""

    def __init__(self, way: str, variables: dict[str, str]) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "KMP_", "GOMP_"))}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--measure", way],
            env=kept | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, processors: list[int], seconds: float) -> tuple[float, float]:
        """Wall-clock and processor seconds per step, with every thread bound to these processors."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), processors)
        print(seconds, file=self.process.stdin, flush=True)
        wall, used = map(float, self.process.stdout.readline().split())
        return wall, used


@contextmanager
def another_job(processor: int) -> Iterator[None]:
    """Run a job that keeps a processor busy."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as job:
        os.sched_setaffinity(job.pid, [processor])
        try:
            yield
        finally:
            job.kill()


def take_turns(workers: dict[str, Worker], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure every way of waiting in every case, ``rounds`` times."""
    processors = sorted(os.sched_getaffinity(0))[:2]
    for worker in workers.values():
        worker.run(processors, 0)
    runs: list[dict[str, Any]] = []
    for turn in range(rounds):
        for way, worker in workers.items():
            for case in CASES:
                if case == "beside a job":
                    with another_job(processors[0]):
                        found = worker.run(processors, seconds)
                else:
                    found = worker.run(processors if case == "idle" else processors[:1], seconds)
                wall, used = found
                runs.append({"way": way, "case": case, "turn": turn, "seconds": wall, "processor_seconds": used})
    return runs


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=4.0, help="seconds of each turn")
    arguments.add_argument("--rounds", type=int, default=5, help="turns of each case")
    arguments.add_argument("--spins", nargs="*", default=[], help="also try these values of GOMP_SPINCOUNT")
    arguments.add_argument("--out", type=Path, default=RESULTS / "thread_waiting.json")
    arguments.add_argument("--measure", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.measure:
        if given.measure == OURS:
            wait_passively()
            spin_briefly()
            from anytag.nn.spinning import spinning_while_idle

            with spinning_while_idle():
                measure()
        else:
            measure()
        return
    asleep = {"OMP_WAIT_POLICY": "PASSIVE"}
    ways: dict[str, dict[str, str]] = {SPINNING: {}, ASLEEP: asleep, OURS: {}}
    ways |= {f"{count} spins": asleep | {"GOMP_SPINCOUNT": count} for count in given.spins}
    load = os.getloadavg()[0]
    workers = {way: Worker(way, variables) for way, variables in ways.items()}
    try:
        runs = take_turns(workers, given.rounds, given.seconds)
    finally:
        for worker in workers.values():
            worker.process.kill()
            worker.process.communicate()

    def over_turns(way: str, case: str, key: str = "seconds") -> list[float]:
        return [run[key] for run in runs if run["way"] == way and run["case"] == case]

    def ratio(way: str, case: str, base: str) -> float:
        pairs = zip(over_turns(way, case), over_turns(base, "idle"), strict=True)
        return median(seconds / idle for seconds, idle in pairs)

    rows = [
        [
            way,
            case,
            median(over_turns(way, case)),
            median(over_turns(way, case, "processor_seconds")),
            ratio(way, case, way),
            ratio(way, case, SPINNING),
        ]
        for way in ways
        for case in CASES
    ]
    header = ["threads wait", "case", "seconds", "processor seconds", "/ its idle step", "/ idle step of the default"]
    table("a step, medians", header, rows)
    targets = [
        target("beside a job / idle", ratio(OURS, "beside a job", OURS), MOST_BESIDE, False),
        target("idle / idle with PyTorch's default", ratio(OURS, "idle", SPINNING), MOST_IDLE, False),
    ]
    record = {"machine": machine() | {"load_before": load}, "seconds_of_a_turn": given.seconds}
    summary = [dict(zip(("way", "case", *header[2:]), row, strict=True)) for row in rows]
    write_targets(given.out, targets, record | {"medians": summary, "runs": runs})


if __name__ == "__main__":
    main()
