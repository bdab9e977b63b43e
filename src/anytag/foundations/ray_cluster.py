"""Ray clusters: found, or started on this machine, without chatter; Ray Data does the scheduling."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anytag.errors import UsageError, needs_extra

#: How much Ray's core, which is not written in Python, says on standard error.
_CORE_LEVEL = "RAY_BACKEND_LOG_LEVEL"
#: Host and port of an address.
_PLACE = re.compile(r"(?:ray://)?(\[[\da-fA-F:]+\]|[^:/]+):(\d+)")
#: Seconds to wait for an answer.
_PATIENCE = 10.0


def require_ray() -> None:
    """Find out whether Ray Data is there.

    Raises:
        MissingExtraError: If it is not installed.
    """
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # Read once: otherwise it prints which workers it lost.
    with needs_extra("Running on a Ray cluster", "cluster"):
        import ray.data  # noqa: F401


def join_cluster(address: str | None) -> None:
    """Join a cluster, unless the program has joined one already; that one is used as it is.

    Args:
        address: Of the cluster; ``auto``: the one that this machine belongs to; ``None``: a new one on this machine.

    Raises:
        UsageError: If there is no such cluster.
    """
    import ray

    if ray.is_initialized():
        return
    asked = os.environ.get("RAY_ADDRESS") or address  # As Ray itself has it.
    if asked and (place := _PLACE.fullmatch(asked)) and (reason := _refusal(place[1], int(place[2]))):
        raise _no_cluster(asked, reason)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # What it would warn of otherwise.
    os.environ.setdefault(_CORE_LEVEL, "fatal")  # Its core calls it an error that Ray Data starts actors as it does.
    # Ray's own choice is 15: beside anything else that runs, workers would stand still, and nobody asked for that.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        with _without_notice():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(asked, next(iter(str(error).splitlines()), type(error).__name__)) from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _refusal(host: str, port: int) -> str | None:
    """Why nobody answers there, which Ray takes five minutes to find out; ``None`` if somebody does."""
    try:
        socket.create_connection((host.strip("[]"), port), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _no_cluster(address: str | None, reason: str) -> UsageError:
    return UsageError(
        f"no Ray cluster answers at {address!r} ({reason}); start one with 'ray start --head', give its "
        "address, or take 'local' for one on this machine"
    )


class RayWorkers:
    """Workers of a Ray cluster, for Ray Data; needs the extra ``cluster``.

    Args:
        workers: Ray actors, each with a model of its own; ``None``: as many as the cluster has processors for.
        address: Of the cluster; ``auto``: the one that this machine belongs to; ``None``: a new one on this machine.
            A cluster that the program has connected to already is used as it is.
        processors: Of each worker.
        gpus: Of each worker; may be a fraction.

    Raises:
        MissingExtraError: If Ray is not installed.
        UsageError: If there are no workers.
    """

    def __init__(self, workers: int | None = None, address: str | None = None, processors: float = 1, gpus: float = 0):
        if workers is not None and workers < 1:
            raise UsageError(f"workers is {workers}; it must be 1 or more")
        require_ray()
        self.workers, self.address, self.processors, self.gpus = workers, address, processors, gpus

    def connect(self) -> None:
        """Join the cluster, unless the program has; otherwise the first piece of work does.

        Raises:
            UsageError: If there is no such cluster, or it has no room for a worker.
        """
        join_cluster(self.address)
        if self.workers is None:
            self.workers = self._room()

    def pool(self, most: int) -> dict[str, Any]:
        """Arguments of Ray Data's ``map``, once connected: the workers, no more than there is work for."""
        import ray

        assert self.workers is not None
        return {
            "compute": ray.data.ActorPoolStrategy(size=min(self.workers, most)),
            "num_cpus": self.processors,
            "num_gpus": self.gpus or None,
        }

    def _room(self) -> int:
        """How many workers the cluster has room for."""
        import ray

        there = ray.cluster_resources()
        rooms = [there.get("CPU", 0) / self.processors] + ([there.get("GPU", 0) / self.gpus] if self.gpus else [])
        if min(rooms) < 1:
            has = f"{there.get('CPU', 0):g} processors and {there.get('GPU', 0):g} GPUs"
            wants = f"{self.processors:g} and {self.gpus:g}"
            raise UsageError(f"the Ray cluster has {has}, and a worker wants {wants}; start machines that have them")
        return int(min(rooms))


@contextmanager
def _without_notice() -> Iterator[None]:
    """Keep back the line in which Ray's core says how much it was told to say; all else comes a moment later."""
    sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # It is closed: nobody hears anything.
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if _CORE_LEVEL.encode() not in line:
                    os.write(2, line)


@contextmanager
def quiet_data(in_order: bool = False) -> Iterator[Any]:
    """Ray Data without its bars, for data sets that are made and read in the block; gives ``ray.data``.

    Args:
        in_order: Whether rows come back in the order in which they were given.
    """
    import ray

    context = ray.data.DataContext.get_current()
    bars, ordered = context.enable_progress_bars, context.execution_options.preserve_order
    context.enable_progress_bars, context.execution_options.preserve_order = False, in_order
    try:
        yield ray.data
    finally:
        context.enable_progress_bars, context.execution_options.preserve_order = bars, ordered
