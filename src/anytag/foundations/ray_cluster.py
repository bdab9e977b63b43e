"""Ray clusters: found, or started on this machine, without chatter; Ray Data does the scheduling."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anytag.errors import UsageError, needs_extra


def require_ray() -> None:
    """Find out whether Ray Data is there.

    Raises:
        MissingExtraError: If it is not installed.
    """
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
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # What it would warn of otherwise.
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(
            f"no Ray cluster answers at {address!r} ({reason}); start one with 'ray start --head', give its "
            "address, or take 'local' for one on this machine"
        ) from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)


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
