"""Worker processes that do not outlive the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from anytag.foundations.interrupts import leave_interrupts_to_parent


@contextmanager
def process_pool(workers: int, prepare: Callable[..., object], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end when this one does, or is interrupted; what has not begun by then never does.

    They are started afresh (``spawn``) on every system: a fork would inherit the locks that threads of PyTorch, ONNX
    Runtime or Ray hold at that moment, and might wait for them forever. So they import the program's main module, which
    has to keep its work below ``if __name__ == "__main__":``.

    Args:
        workers: How many.
        prepare: Is called in each of them before its first work.
        arguments: Of that.
    """
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(prepare, arguments)
    )
    wait = True
    try:
        yield pool
    except KeyboardInterrupt:
        wait = False  # An interruption does not wait.
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)


def _begin(prepare: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    leave_interrupts_to_parent()
    end_with_parent()
    prepare(*arguments)


def end_with_parent() -> None:
    """Let this worker process end when its parent does, however that ends.

    A pool's workers wait for work from a pipe that they hold open themselves, so when the parent is killed they would
    wait forever.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="anytag-parent-watch", daemon=True).start()
