"""Entry point of ``anytag`` and ``python -m anytag``; small, since an interrupt can come while the rest is loading."""

from __future__ import annotations

import os
import signal
import sys

from anytag.errors import AnytagError
from anytag.foundations.headroom import prepare_libraries
from anytag.foundations.interrupts import exit_immediately
from anytag.foundations.shortage import explain_shortages


def main() -> None:
    # Interrupts that the environment ignores (nohup, background jobs) stay ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, exit_immediately)
    try:
        with explain_shortages():
            prepare_libraries()
            from anytag.cli import main as run

            run()
    except AnytagError as error:
        os.write(2, f"anytag: {error}\n".encode(errors="backslashreplace"))
        sys.exit(2)


if __name__ == "__main__":
    main()
