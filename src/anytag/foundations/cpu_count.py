"""How many processors there are to use."""

from __future__ import annotations

import os


def available_processors() -> int:
    """Processors that this process may use; fewer than there are in a container or under a scheduler."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
