"""Memory of a process that is there for months: what a model took goes back to the system when the model goes."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

#: Of the C library's ``mallopt``: how many separate heaps threads may have.
_M_ARENA_MAX = -8


def use_one_heap() -> None:
    """Let all threads take memory from one heap; to be called before there are any.

    Otherwise each thread has one, and single blocks that live on in each of them hold much memory that is free.
    """
    _call("mallopt", _M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """What is free, to the system: the C library keeps it otherwise."""
    gc.collect()
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # Not every C library has it.
            getattr(ctypes.CDLL(None), name)(*arguments)
