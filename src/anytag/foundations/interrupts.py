"""How a process ends that is interrupted (Ctrl-C) or asked to end by another signal."""

from __future__ import annotations

import os
import signal
from types import FrameType

#: Status of a command that was interrupted: 128 and the number of the signal, as shells count.
INTERRUPTED = 130


def leave_at_once(signal_number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """End the process in one line, where there is nothing to tidy up: no traceback, no waiting for threads."""
    os.write(2, b"anytag: interrupted\n")
    os._exit(INTERRUPTED)


def leave_interrupts_to_parent() -> None:
    """For worker processes: a terminal interrupts them together with their parent, which ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class StoppedBySignalError(KeyboardInterrupt):
    """Work was asked to end by a signal, and did so with all that it has done kept.

    Args:
        number: The signal.
        kept: What was kept, and how to go on, in words.

    Attributes:
        signal: Which signal asked.
        status: What a command should end with: 128 and the number of the signal.
    """

    def __init__(self, number: signal.Signals, kept: str):
        super().__init__(f"{number.name}: {kept}")
        self.signal, self.status = number, 128 + number
