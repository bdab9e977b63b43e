"""Signals that ask a run to stop: Ctrl-C, those of schedulers, and SIGHUP of a terminal that closes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from anytag.foundations.report import Report

#: Signals that ask a process to stop, where the system has them. Some time before SIGKILL, schedulers send SIGTERM
#: (Slurm, Kubernetes) or what they were told to (``sbatch --signal=USR1@120``); Grid Engine sends SIGUSR1, SIGUSR2 and
#: SIGXCPU.
_STOPPING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)


class _InterruptedError(Exception):
    """Ends a block that need not be finished."""


class StopSignals:
    """Notes the first signal, so that a step can be finished and saved; a second one has its usual effect.

    Only the main thread can listen; elsewhere signals have their usual effect throughout.

    Attributes:
        seen: The signal that arrived, if any.
    """

    def __init__(self, report: Report):
        self.seen: signal.Signals | None = None
        self._report = report
        self._before: dict[signal.Signals, Any] = {}
        self._may_interrupt = False

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                # Signals that are ignored (nohup) stay ignored.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Let a signal end the block at once, because its work can be repeated or is not needed."""
        self._may_interrupt = self.seen is None
        try:
            yield
        except _InterruptedError:
            pass
        finally:
            self._may_interrupt = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.seen = signal.Signals(number)
        self._restore()
        self._report(
            f"{self.seen.name}: finishing this step and saving a checkpoint; a second one ends the run at once"
        )
        if self._may_interrupt:
            self._may_interrupt = False
            raise _InterruptedError

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
