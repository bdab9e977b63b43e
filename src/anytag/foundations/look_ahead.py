"""Run jobs ahead in threads, and return the results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Mark = TypeVar("Mark")
Result = TypeVar("Result")
Item = TypeVar("Item")


def run_ahead(
    jobs: Iterable[tuple[Mark, Callable[[], Result]]], threads: int, ahead: int
) -> Iterator[tuple[Mark, Callable[[], Result]]]:
    """Run jobs in threads.

    Args:
        jobs: Marks and functions; consumed in the caller's thread, and at most ``ahead`` in advance.
        threads: Their number; 0: run each job when its result is requested.
        ahead: Jobs started before their results are requested.

    Yields:
        In order, each mark with a function that returns the job's result or raises its error.
    """
    if not threads:
        yield from jobs
        return
    pending: deque[tuple[Mark, Future[Result]]] = deque()
    rest = iter(jobs)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="anytag-ahead")
    try:
        while True:
            while len(pending) < ahead and (job := next(rest, None)) is not None:
                pending.append((job[0], pool.submit(job[1])))
            if not pending:
                return
            mark, future = pending.popleft()
            yield mark, future.result
    finally:
        # Without waiting: an interrupt should not have to wait for a large picture.
        pool.shutdown(wait=False, cancel_futures=True)


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the same items, each made in a thread while the one before is used."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="anytag-ahead")
    try:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
