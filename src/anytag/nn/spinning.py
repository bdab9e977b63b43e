"""Threads that wait for each other spin on an idle machine, and sleep beside other programs."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from anytag.foundations.cpu_count import OthersWork

#: Processors' worth of others' work, beyond those that nobody computes on, from which threads sleep, and below which
#: they spin again.
_CROWDED, _CALM = 0.3, 0.1
#: Seconds between two looks.
_PAUSE = 1.0
#: Numbers of a tensor for each thread that shares a loop over it (ATen's grain size).
_SHARE = 1 << 15
_MOST_HOLDERS = 16
#: Those that the library counted when it was loaded, with PyTorch.
_PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Throttle:
    """Makes the threads of GNU's OpenMP sleep at once when they wait, for as long as it is held.

    How long they spin is read once, when the library is loaded, and there is no call that changes it. But where a
    process has more threads of OpenMP than there are processors, the library takes another number, which is none with
    ``OMP_WAIT_POLICY=PASSIVE``. So this adds threads that sleep. It changes neither how many threads share a loop nor
    what is computed.
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
        # Every thread that computes gets a team of its own: itself, and one less than a team's threads.
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
        """Let them spin again."""
        self._end.set()
        for holder in self._holders:
            holder.join()
        self._holders = []

    def _sleep(self, threads: int) -> None:
        torch.zeros(threads * _SHARE).exp_()
        self._end.wait()


@contextmanager
def spinning_while_idle() -> Iterator[None]:
    """Let waiting threads spin as long as nobody else needs the processors, and sleep otherwise.

    For processes in which :func:`anytag.foundations.thread_waiting.spin_briefly` said that they spin.
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
        work = OthersWork()
        while not end.wait(_PAUSE):
            free = len(os.sched_getaffinity(0)) - torch.get_num_threads()
            needed = work.processors() - free
            if needed > _CROWDED:
                throttle.hold()
            elif needed < _CALM:
                throttle.release()
    except OSError:
        # The system does not tell what others do.
        throttle.hold()
        end.wait()
    throttle.release()
