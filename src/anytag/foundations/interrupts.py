"""How a process ends on Ctrl-C or another signal."""

from __future__ import annotations

import os
import signal
from types import FrameType

#: Exit status of an interrupted command: 128 plus the signal's number, as in shells.
INTERRUPTED = 130


def exit_immediately(signal_number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """End the process with one line, without a traceback and without waiting for threads."""
    os.write(2, b"anytag: interrupted\n")
    os._exit(INTERRUPTED)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C in a worker process, which its parent will end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class StoppedBySignalError(KeyboardInterrupt):
    """A signal asked the work to stop; ``kept`` says what was saved and how to continue.

    Attributes:
        status: The command's exit status: 128 plus the signal's number.
    """

    def __init__(self, number: signal.Signals, kept: str):
        super().__init__(f"{number.name}: {kept}")
        self.signal, self.status = number, 128 + number
