"""Perform the units of a step in this process, in several processes, or on a Ray cluster.

Units read and write files and return only their marker, so the source and the work folder need the same paths on all
machines. Ray Data schedules them, and reassigns the units of lost workers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from anytag.data_engine.work import Marker, Problem, Step, perform
from anytag.errors import AnytagError, UsageError
from anytag.foundations.ray_cluster import RayWorkers, quiet_data
from anytag.foundations.worker_processes import process_pool


class LocalExecutor:
    """This machine.

    Args:
        workers: Processes, each of which loads what the step needs, such as a model; 1: only this process.

    Raises:
        UsageError: If ``workers`` is not positive.
    """

    def __init__(self, workers: int = 1):
        if workers < 1:
            raise UsageError(f"workers is {workers}; it must be 1 or more")
        self.workers = workers

    def __call__(self, step: Step, units: Sequence[int]) -> Iterator[Marker | Problem]:
        """Perform units; yield results as they are done.

        Raises:
            AnytagError: If a worker dies. Finished units stay done.
        """
        if self.workers == 1 or len(units) < 2:
            yield from (perform(step, unit) for unit in units)
            return
        try:
            with process_pool(min(self.workers, len(units)), _start, step) as pool:
                for future in as_completed([pool.submit(_perform_here, unit) for unit in units]):
                    yield future.result()
        except BrokenProcessPool:
            raise AnytagError(
                f"{step.name}: a worker process was killed, most likely because memory ran out. What is done is kept: "
                "run the same command again, perhaps with fewer workers"
            ) from None


_step: Step | None = None


def _start(step: Step) -> None:
    global _step
    _step = step


def _perform_here(unit: int) -> Marker | Problem:
    assert _step is not None, "the worker process was not started by an executor"
    return perform(_step, unit)


class RayExecutor(RayWorkers):
    """A Ray cluster, of which each worker loads what the step needs, such as a model."""

    def __call__(self, step: Step, units: Sequence[int]) -> Iterator[Marker | Problem]:
        if not units:
            return
        self.connect()
        with quiet_data() as data:
            rows = data.from_items([{"unit": int(unit)} for unit in units], override_num_blocks=len(units))
            done = rows.map(RayWorker, fn_constructor_args=(step,), **self.pool(len(units)))
            for row in done.iter_rows():
                marker = Marker.from_json(json.loads(row["done"])) if not row["problem"] else None
                yield marker or Problem(row["problem"], row["done"])


class RayWorker:
    """An actor of Ray Data that performs units of one step."""

    def __init__(self, step: Step):
        self.step = step

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        done = perform(self.step, int(row["unit"]))
        if isinstance(done, Problem):
            return {"done": done.kind, "problem": done.message}
        # As text, since Arrow requires the same fields in all markers.
        return {"done": json.dumps(done.to_json()), "problem": ""}
