"""What ``anytag`` and ``python -m anytag`` start; small, since an interrupt can come while the rest is loading."""

from __future__ import annotations

import signal
import sys

from anytag.foundations.interrupts import leave_at_once


def main() -> None:
    """Entry point of the ``anytag`` command."""
    # Where interrupts are ignored from outside (nohup, jobs in the background), they stay ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave_at_once)
    try:
        from anytag.cli import main as run
    except (MemoryError, ImportError) as error:
        from anytag.foundations.shortage import shortage_of

        if (shortage := shortage_of(error)) is None:
            raise
        sys.exit(f"anytag: {shortage}")
    run()


if __name__ == "__main__":
    main()
