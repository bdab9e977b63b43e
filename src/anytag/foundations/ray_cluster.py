"""Connect to a Ray cluster, or start one on this machine, without Ray's messages."""

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

#: Log level of Ray's C++ core, which writes to standard error.
_CORE_LEVEL = "RAY_BACKEND_LOG_LEVEL"
#: Host and port of an address.
_PLACE = re.compile(r"(?:ray://)?(\[[\da-fA-F:]+\]|[^:/]+):(\d+)")
#: Seconds to wait for an answer.
_PATIENCE = 10.0


def require_ray() -> None:
    """Import Ray Data.

    Raises:
        MissingExtraError: If it is not installed.
    """
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # Read once: otherwise it prints which workers it lost.
    with needs_extra("Running on a Ray cluster", "cluster"):
        import ray.data  # noqa: F401


def join_cluster(address: str | None) -> None:
    """Connect to a cluster, unless the program has done so already; for the address see :class:`RayWorkers`.

    Raises:
        UsageError: If there is no such cluster.
    """
    import ray

    if ray.is_initialized():
        return
    asked = os.environ.get("RAY_ADDRESS") or address  # The order that Ray uses.
    if asked and (place := _PLACE.fullmatch(asked)) and (reason := _refusal(place[1], int(place[2]))):
        raise _no_cluster(asked, reason)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Avoids a warning.
    os.environ.setdefault(_CORE_LEVEL, "fatal")  # The core reports the way Ray Data starts actors as an error.
    # Ray's default is 15, with which workers hardly run beside other programs.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        with _without_notice():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(asked, next(iter(str(error).splitlines()), type(error).__name__)) from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _refusal(host: str, port: int) -> str | None:
    """Return why nobody answers there, or ``None``; Ray itself would take five minutes to find out."""
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
        workers: Ray actors, each with its own model; ``None``: as many as the cluster has room for.
        address: The cluster's; ``auto``: this machine's cluster; ``None``: start one on this machine. If the program is
            connected to a cluster already, that one is used.
        gpus: GPUs of each worker; may be a fraction.

    Raises:
        MissingExtraError: If Ray is not installed.
        UsageError: If ``workers`` is not positive.
    """

    def __init__(self, workers: int | None = None, address: str | None = None, processors: float = 1, gpus: float = 0):
        if workers is not None and workers < 1:
            raise UsageError(f"workers is {workers}; it must be 1 or more")
        require_ray()
        self.workers, self.address, self.processors, self.gpus = workers, address, processors, gpus

    def connect(self) -> None:
        """Connect to the cluster, unless the program has done so already.

        Raises:
            UsageError: If there is no such cluster, or it has no room for a worker.
        """
        join_cluster(self.address)
        if self.workers is None:
            self.workers = self._room()

    def pool(self, most: int) -> dict[str, Any]:
        """Return arguments for Ray Data's ``map``, with at most ``most`` workers; call :meth:`connect` first."""
        import ray

        assert self.workers is not None
        return {
            "compute": ray.data.ActorPoolStrategy(size=min(self.workers, most)),
            "num_cpus": self.processors,
            "num_gpus": self.gpus or None,
        }

    def _room(self) -> int:
        import ray

        resources = ray.cluster_resources()
        rooms = [resources.get("CPU", 0) / self.processors]
        if self.gpus:
            rooms.append(resources.get("GPU", 0) / self.gpus)
        if min(rooms) < 1:
            has = f"{resources.get('CPU', 0):g} processors and {resources.get('GPU', 0):g} GPUs"
            wants = f"{self.processors:g} and {self.gpus:g}"
            raise UsageError(f"the Ray cluster has {has}, and a worker wants {wants}; start machines that have them")
        return int(min(rooms))


@contextmanager
def _without_notice() -> Iterator[None]:
    """Drop the line in which Ray's core announces its log level; all other output comes when the block ends."""
    sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # Standard error is closed.
        yield
        return
    with tempfile.TemporaryFile() as buffer:
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            buffer.seek(0)
            for line in buffer:
                if _CORE_LEVEL.encode() not in line:
                    os.write(2, line)


@contextmanager
def quiet_data(in_order: bool = False) -> Iterator[Any]:
    """Use Ray Data without progress bars, and with rows in the given order if ``in_order``; yields ``ray.data``."""
    import ray

    context = ray.data.DataContext.get_current()
    bars, ordered = context.enable_progress_bars, context.execution_options.preserve_order
    context.enable_progress_bars, context.execution_options.preserve_order = False, in_order
    try:
        yield ray.data
    finally:
        context.enable_progress_bars, context.execution_options.preserve_order = bars, ordered
