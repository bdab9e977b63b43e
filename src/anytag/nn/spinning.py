"""Let OpenMP threads spin while they wait on an idle machine, and sleep while other programs need the processors."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from anytag.foundations.cpu_count import OtherProcessLoad

#: Load of other programs, in processors beyond those that PyTorch leaves free: above the first number, threads sleep;
#: below the second, they spin again.
_CROWDED, _CALM = 0.3, 0.1
#: Seconds between two measurements.
_PAUSE = 1.0
#: Elements per thread in a parallel loop (ATen's grain size).
_SHARE = 1 << 15
_MOST_HOLDERS = 16
#: Processors that OpenMP counted when it was loaded with PyTorch.
_PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Throttle:
    """Make waiting threads of GNU OpenMP sleep instead of spin.

    The spin count is set when the library is loaded and cannot be changed later. But if a process has more OpenMP
    threads than processors, the library uses another spin count, which is 0 with ``OMP_WAIT_POLICY=PASSIVE``. So this
    starts additional threads that only sleep. Neither the threads per loop nor any results change.
    """

    def __init__(self) -> None:
        self._end = threading.Event()
        self._holders: list[threading.Thread] = []

    @property
    def held(self) -> bool:
        return bool(self._holders)

    def hold(self) -> None:
        """Let waiting threads sleep."""
        threads = torch.get_num_threads()
        if self.held or threads < 2:
            return
        # Every Python thread that computes gets its own team: itself and ``threads - 1`` others.
        surplus = _PROCESSORS - threads + 1
        count = math.ceil(surplus / (threads - 1)) if surplus > 0 else 0
        if count <= _MOST_HOLDERS:
            self._end.clear()
            self._holders = [
                threading.Thread(target=self._sleep, args=(threads,), name="anytag-throttle", daemon=True)
                for _ in range(count)
            ]
            for holder in self._holders:
                holder.start()

    def release(self) -> None:
        """Let waiting threads spin again."""
        self._end.set()
        for holder in self._holders:
            holder.join()
        self._holders = []

    def _sleep(self, threads: int) -> None:
        torch.zeros(threads * _SHARE).exp_()
        self._end.wait()


@contextmanager
def spinning_while_idle() -> Iterator[None]:
    """Let waiting threads spin unless other programs need the processors.

    For processes where :func:`anytag.foundations.thread_waiting.spin_briefly` returned true.
    """
    end = threading.Event()
    watch = threading.Thread(target=_watch, args=(end,), name="anytag-load", daemon=True)
    watch.start()
    try:
        yield
    finally:
        end.set()
        watch.join()


def _watch(end: threading.Event) -> None:
    throttle = Throttle()
    try:
        work = OtherProcessLoad()
        while not end.wait(_PAUSE):
            free = len(os.sched_getaffinity(0)) - torch.get_num_threads()
            needed = work.processors() - free
            if needed > _CROWDED:
                throttle.hold()
            elif needed < _CALM:
                throttle.release()
    except OSError:
        # The load of other programs is unknown.
        throttle.hold()
        end.wait()
    throttle.release()
