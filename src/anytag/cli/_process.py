"""How a command runs as a process: its streams, interrupts, and the status that it ends with."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from anytag.cli._output import say
from anytag.foundations.atomic_files import DISK_FULL
from anytag.foundations.interrupts import INTERRUPTED, leave_at_once
from anytag.foundations.thread_waiting import wait_passively


def run_command(command: Callable[[], object]) -> int:
    """Run the command line, and give the status that the process should end with.

    A reader that has enough (``| head``) ends a command early, without a word and with status 0. An interrupt ends the
    process here, in one line and with status 130, without waiting for threads. SIGTERM and SIGHUP do likewise, but the
    process dies of them, as service managers expect.

    Args:
        command: Reads the arguments and does what they say; ends like a click command, with SystemExit.
    """
    wait_passively()
    output = _prepare_streams()
    warnings.showwarning = _show_warning
    with _Interrupts() as interrupts:
        try:
            status = _status_of(command)
            with suppress(OSError):  # It is remembered.
                sys.stdout.flush()
        except KeyboardInterrupt:
            status = INTERRUPTED
        except BaseException:
            # Some libraries turn an interrupt into an error of their own.
            if interrupts.seen:
                status = INTERRUPTED
            elif output is not None and output.failure is not None:
                status = 1
            else:
                raise
        if output is not None and output.failure is not None and status != INTERRUPTED:
            status = _without_output(output.failure, status)
        if status == INTERRUPTED:
            interrupts.end()
        return status


def announce_interrupt(command: str, what: str = "interrupted") -> None:
    """Say, once, that a command was interrupted, or what came of that."""
    if not _Interrupts.announced:
        _Interrupts.announced = True
        say(f"{command}: {what}")


def _status_of(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as end:
        if isinstance(end.code, str):
            say(end.code)
            return 1
        return end.code or 0
    return 0


def _without_output(failure: OSError, status: int) -> int:
    """The status of a command whose standard output could not be written."""
    # What is still buffered goes nowhere; writing it would fail again at exit.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout.flush()
    if isinstance(failure, BrokenPipeError):
        return 0
    if status != 2:  # Else it has been said.
        reason = "the disk is full" if failure.errno in DISK_FULL else failure.strerror or failure
        say(f"anytag: standard output: {reason}")
    return 2


class _Descriptor(io.FileIO):
    """Standard output, which remembers that it could not be written: a full disk, or a reader that went away."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def _prepare_streams() -> _Descriptor | None:
    """Make streams that can write everything; ``None`` where standard output is something else already."""
    # The number of a closed descriptor would go to the next file that is opened, such as a model, to be written to.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number else os.O_RDONLY)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if sys.stdout is not sys.__stdout__:
        return None
    output = _Descriptor(1, "wb", closefd=False)
    encoding, is_terminal = getattr(sys.stdout, "encoding", None) or "utf-8", output.isatty()
    buffered = io.BufferedWriter(output)
    sys.stdout = io.TextIOWrapper(buffered, encoding, "backslashreplace", line_buffering=is_terminal)
    return output


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    say(f"anytag: {message}")


#: Signals that ask a process to end, beside that of Ctrl-C.
_REQUESTS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class _Interrupts:
    """The first Ctrl-C is an exception, so that half-written files go; a second one ends the process at once.

    Requests to end are taken alike.
    """

    announced = False

    def __init__(self) -> None:
        self.seen = False
        self._others, self._process = sys.unraisablehook, os.getpid()
        self._request: int | None = None

    def __enter__(self) -> _Interrupts:
        if signal.getsignal(signal.SIGINT) in (leave_at_once, signal.default_int_handler):
            signal.signal(signal.SIGINT, self._interrupt)
            sys.unraisablehook = self._unraisable
        for number in _REQUESTS:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, self._end_on_request)
        return self

    def __exit__(self, *_: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, leave_at_once)
        for number in _REQUESTS:
            if signal.getsignal(number) == self._end_on_request:
                signal.signal(number, signal.SIG_DFL)

    def _interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        self.seen = True
        signal.signal(signal.SIGINT, leave_at_once)
        raise KeyboardInterrupt

    def _end_on_request(self, signal_number: int, frame: FrameType | None) -> None:
        signal.signal(signal_number, signal.SIG_DFL)
        if os.getpid() != self._process:  # A worker, which has nothing to tidy up.
            os.kill(os.getpid(), signal_number)
        self.seen, self._request = True, signal_number
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        # An interrupt that comes where exceptions are lost, as in a finalizer, would go unheard.
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            leave_at_once()
        self._others(unraisable)

    def end(self) -> None:
        """End the process, and those that it started, with status 130 or by the signal that asked for it."""
        announce_interrupt("anytag")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if "multiprocessing" in sys.modules:
            import multiprocessing

            for child in multiprocessing.active_children():
                child.terminate()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        if self._request is not None:
            signal.signal(self._request, signal.SIG_DFL)
            os.kill(os.getpid(), self._request)
        # Not sys.exit: that waits for threads, and one of them may be reading from a pipe.
        os._exit(INTERRUPTED)
