"""Measure the gain of a second worker in a Ray cluster: ``python benchmarks/batch_cluster.py [--pictures 400]``.

Runs ``anytag batch --engine ray`` on a folder of 640 x 480 JPEGs on a local cluster, with one worker and with two, each
with one thread, and in one process with one thread. With one worker, the worker and its cluster are bound to one core,
which stands for one machine; two cores stand for two. Rates are counted from the first block of results, without the
start of the cluster and the workers. Results must be equal. Writes ``benchmarks/results/batch_cluster.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import RESULTS, machine, table, target, write_targets
from _pictures import make_folder

#: Compared setups: workers (0: this process), and their cores.
WAYS = {"one process, one core": (0, 1), "one worker, one core": (1, 1), "two workers, two cores": (2, 2)}


def measure(photos: Path, out: Path, workers: int) -> dict[str, Any]:
    """One batch, in this process or on a new local cluster; seconds and pictures between first and last block."""
    import anytag
    from anytag.library.cluster import BLOCK, RayCluster
    from anytag.library.run import BatchRun
    from anytag.pictures import find_pictures
    from anytag.writers.records import TagView

    cluster = None
    if workers:
        import logging

        import ray

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        cluster = RayCluster(workers)
    recognizer = anytag.load(threads=1)
    view = TagView(recognizer.vocabulary)
    work = BatchRun(recognizer, {}, False, None, view, (), ["jsonl"], out, cluster)
    answers, first = work._results, 0.0

    def timed(known: Any, pictures: Any) -> Any:
        nonlocal first
        for answer in answers(known, pictures):
            first = first or time.perf_counter()
            yield answer

    work._results = timed  # type: ignore[method-assign]
    begun = time.perf_counter()
    with work.open() as known:
        work.scan(known, find_pictures([photos]), [str(photos)])
        work.recognize(known)
        work.write(known)
    seconds = time.perf_counter() - begun
    # Blocks that start together end together: when the first arrives, those of all workers are done.
    return {"seconds": seconds, "first_seconds": first - begun, "done_at_first": BLOCK * workers or 8}


def steady(one: dict[str, Any], pictures: int) -> float:
    """Pictures per second, counted from the first results."""
    return float((pictures - one["done_at_first"]) / (one["seconds"] - one["first_seconds"]))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pictures", type=int, default=400)
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--out", type=Path, default=RESULTS / "batch_cluster.json")
    arguments.add_argument("--run", nargs=3, metavar=("PHOTOS", "OUT", "WORKERS"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    # Ray gives its workers the lowest priority, which distorts the comparison on a busy machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ["SOURCE_DATE_EPOCH"] = "1767323045"
    if options.run:
        photos, out, workers = options.run
        print(json.dumps(measure(Path(photos), Path(out), int(workers))))
        return
    record: dict[str, Any] = {"machine": machine(), "pictures": options.pictures}
    found: dict[str, list[dict[str, Any]]] = {}
    results = set()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "photos").mkdir()
        make_folder(folder / "photos", options.pictures)
        for number in range(options.rounds):
            for name, (workers, cores) in WAYS.items():
                out = folder / f"{number}-{workers}"
                given = [sys.executable, __file__, "--run", str(folder / "photos"), str(out), str(workers)]
                mine = sorted(os.sched_getaffinity(0))[-cores:]
                done = subprocess.run(
                    given,
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                    preexec_fn=lambda mine=mine: os.sched_setaffinity(0, mine),
                )
                found.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{name}: {found[name][-1]}", flush=True)
                results.add((out / "tags.jsonl").read_bytes())
    rates = {name: statistics.median(steady(one, options.pictures) for one in r) for name, r in found.items()}
    table("Pictures a second", ["on", "steady"], [[name, rate] for name, rate in rates.items()])
    process, one, two = rates.values()
    record |= {"rounds": found, "steady_per_second": rates, "equal_results": len(results) == 1}
    targets = [
        target("two workers against one", two / one, 1.8, at_least=True, unit="x"),
        target("two workers against one process", two / process, 1.8, at_least=True, unit="x"),
        target("different results", len(results) - 1, 0, at_least=False),
    ]
    write_targets(options.out, targets, record)


if __name__ == "__main__":
    main()
