"""Worker processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from anytag.foundations.interrupts import ignore_interrupts


@contextmanager
def process_pool(workers: int, prepare: Callable[..., object], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Start worker processes that end when this process ends or is interrupted; pending work is then canceled.

    Each first calls ``prepare(*arguments)``. They are started by ``spawn`` on every system: a fork would inherit locks
    that threads of PyTorch, ONNX Runtime or Ray hold at that moment, and might wait for them forever. So workers import
    the program's main module, which must keep its work below ``if __name__ == "__main__":``.
    """
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(prepare, arguments)
    )
    wait = True
    try:
        yield pool
    except KeyboardInterrupt:
        wait = False
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)


def _begin(prepare: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    ignore_interrupts()
    end_with_parent()
    prepare(*arguments)


def end_with_parent() -> None:
    """End this worker process when its parent ends.

    A pool's workers wait for work from a pipe that they hold open themselves, so that they would wait forever for a
    parent that was killed.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="anytag-parent-watch", daemon=True).start()
