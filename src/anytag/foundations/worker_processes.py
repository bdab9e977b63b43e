"""Worker processes that do not outlive whoever started them."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Let this worker process end when its parent does, however that ends.

    A pool's workers wait for work from a pipe that they hold open themselves, so when the parent is killed they would
    wait for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="anytag-parent-watch", daemon=True).start()
