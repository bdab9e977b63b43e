"""Run a command as a process: its streams, interrupts, errors and exit status."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from typer import Exit

from anytag.cli._output import log
from anytag.errors import AnytagError, MissingExtraError
from anytag.foundations.atomic_files import DISK_FULL
from anytag.foundations.interrupts import INTERRUPTED, StoppedBySignalError, exit_immediately
from anytag.foundations.shortage import is_panic, shortage_of
from anytag.foundations.thread_waiting import wait_passively


def run_command(command: Callable[[], object]) -> int:
    """Run the command line, and return the status that the process should exit with.

    A reader that stops early (``| head``) ends a command silently with status 0. An interrupt ends the process here,
    with one line and status 130, without waiting for threads. SIGTERM and SIGHUP do the same, but kill the process, as
    service managers expect.

    Args:
        command: Parses the arguments and runs them; exits like a click command, with SystemExit.
    """
    wait_passively()
    output = _prepare_streams()
    warnings.showwarning = _show_warning
    with _Interrupts() as interrupts:
        try:
            status = _status_of(command)
            with suppress(OSError):  # Recorded by the stream.
                sys.stdout.flush()
        except KeyboardInterrupt:
            status = INTERRUPTED
        except BaseException:
            # Some libraries turn an interrupt into an error of their own.
            if interrupts.received:
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
    """Print, once, that a command was interrupted."""
    if not _Interrupts.announced:
        _Interrupts.announced = True
        log(f"{command}: {what}")


@contextmanager
def explained_errors(command: str) -> Iterator[None]:
    """Turn the package's errors, and those of the system, into a line on stderr and exit code 2."""
    try:
        yield
    except AnytagError as error:
        shortage = shortage_of(error) if isinstance(error, MissingExtraError) else None
        log(f"{command}: {shortage or error}")
        raise Exit(2) from None
    except BrokenPipeError:
        # The reader ("head") has enough.
        raise Exit(0) from None
    except StoppedBySignalError as stopped:
        announce_interrupt(command, str(stopped))
        raise Exit(stopped.status) from None
    except KeyboardInterrupt:
        announce_interrupt(command)
        raise Exit(INTERRUPTED) from None
    except Exit:
        raise
    except BaseException as error:
        if (reason := _system_error(error)) is None:
            raise
        log(f"{command}: {reason}")
        raise Exit(2) from None


def _system_error(error: BaseException) -> str | None:
    """Describe an error of the system; ``None`` if it is another error."""
    if not isinstance(error, Exception) and not is_panic(error):
        return None
    if (shortage := shortage_of(error)) is not None:
        return str(shortage)
    if not isinstance(error, OSError):
        return None
    if isinstance(error, FileNotFoundError) and not error.filename and _current_folder_is_gone():
        return "the current folder no longer exists; go to another one"
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in DISK_FULL:
        return f"{where}the disk is full. Free some space, then run the same command again."
    return f"{where}{error.strerror or error}"


def _current_folder_is_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 (that is the question)
    except OSError:
        return True
    return False


def _status_of(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as end:
        if isinstance(end.code, str):
            log(end.code)
            return 1
        return end.code or 0
    return 0


def _without_output(failure: OSError, status: int) -> int:
    """Return the status of a command whose standard output could not be written."""
    # Discard the rest of the buffer, which would fail again at exit.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout.flush()
    if isinstance(failure, BrokenPipeError):
        return 0
    if status != 2:  # Otherwise it was printed before.
        reason = "the disk is full" if failure.errno in DISK_FULL else failure.strerror or failure
        log(f"anytag: standard output: {reason}")
    return 2


class _Descriptor(io.FileIO):
    """Standard output, which records a failure to write: a full disk, or a reader that closed the pipe."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def _prepare_streams() -> _Descriptor | None:
    """Make streams that can write any text; return ``None`` if standard output was replaced."""
    # The number of a closed descriptor would be reused for the next file, such as a model, and overwrite it.
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
    log(f"anytag: {message}")


#: Signals that ask a process to end, other than Ctrl-C.
_REQUESTS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class _Interrupts:
    """Turn the first Ctrl-C into an exception, so that partial files are deleted; a second one ends the process.

    SIGTERM and SIGHUP are handled the same way.
    """

    announced = False

    def __init__(self) -> None:
        self.received = False
        self._others, self._process = sys.unraisablehook, os.getpid()
        self._request: int | None = None

    def __enter__(self) -> _Interrupts:
        if signal.getsignal(signal.SIGINT) in (exit_immediately, signal.default_int_handler):
            signal.signal(signal.SIGINT, self._interrupt)
            sys.unraisablehook = self._unraisable
        for number in _REQUESTS:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, self._end_on_request)
        return self

    def __exit__(self, *_: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, exit_immediately)
        for number in _REQUESTS:
            if signal.getsignal(number) == self._end_on_request:
                signal.signal(number, signal.SIG_DFL)

    def _interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        self.received = True
        signal.signal(signal.SIGINT, exit_immediately)
        raise KeyboardInterrupt

    def _end_on_request(self, signal_number: int, frame: FrameType | None) -> None:
        signal.signal(signal_number, signal.SIG_DFL)
        if os.getpid() != self._process:  # A worker, which has nothing to clean up.
            os.kill(os.getpid(), signal_number)
        self.received, self._request = True, signal_number
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        # An interrupt where exceptions are lost, as in a finalizer, would have no effect.
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            exit_immediately()
        self._others(unraisable)

    def end(self) -> None:
        """End the process and its children, with status 130 or by the signal that was received."""
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
