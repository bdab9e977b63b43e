"""Signals that end a run: Ctrl-C, what schedulers announce its end by, the SIGHUP of a terminal that closes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from anytag.foundations.report import Report

#: What asks a process to end, where the system has it. Some time before SIGKILL schedulers send SIGTERM (Slurm,
#: Kubernetes), or what they were told to (``sbatch --signal=USR1@120``); Grid Engine SIGUSR1, SIGUSR2 and SIGXCPU.
_ASKING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)


class _NotWorthWaitingError(Exception):
    """Ends what need not be finished."""


class StopSignals:
    """Notes the first signal, so that a step can be finished and saved; a second one has its usual effect.

    Only the main thread can listen; elsewhere signals have their usual effect throughout.

    Args:
        report: Told that the signal was heard.

    Attributes:
        seen: The signal that came, if one did.
    """

    def __init__(self, report: Report):
        self.seen: signal.Signals | None = None
        self._report = report
        self._before: dict[signal.Signals, Any] = {}
        self._may_break_off = False

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _ASKING:
                # What was told to be ignored (nohup) stays so.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Within the block a signal ends it at once: what it does can be done again, or is not needed."""
        self._may_break_off = self.seen is None
        try:
            yield
        except _NotWorthWaitingError:
            pass
        finally:
            self._may_break_off = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.seen = signal.Signals(number)
        self._give_back()
        self._report(
            f"{self.seen.name}: finishing this step and saving a checkpoint; a second one ends the run at once"
        )
        if self._may_break_off:
            self._may_break_off = False
            raise _NotWorthWaitingError

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
