"""Return memory to the system when a model is unloaded, for processes that run for months."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

#: Parameter of the C library's ``mallopt``: highest number of heaps.
_M_ARENA_MAX = -8


def use_one_heap() -> None:
    """Let all threads allocate from one heap; to be called before any thread starts.

    Otherwise each thread has a heap, and single blocks that stay allocated keep much free memory in each of them.
    """
    _call("mallopt", _M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Return free memory to the system, which the C library would keep."""
    gc.collect()
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # Not every C library has it.
            getattr(ctypes.CDLL(None), name)(*arguments)
