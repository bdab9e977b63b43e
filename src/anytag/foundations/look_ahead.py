"""Jobs that threads begin before their results are asked for, and results in the order of the jobs."""

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
        jobs: Marks and what to do; drawn in the consumer's thread, and only as far as ``ahead``.
        threads: How many; 0: each job runs when its result is asked for.
        ahead: Jobs that are begun before they are asked for.

    Yields:
        In order, each mark with a call that gives the job's result or raises what it raised.
    """
    if not threads:
        yield from jobs
        return
    pending: deque[tuple[Mark, Future[Result]]] = deque()
    drawn = iter(jobs)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="anytag-ahead")
    try:
        while True:
            while len(pending) < ahead and (job := next(drawn, None)) is not None:
                pending.append((job[0], pool.submit(job[1])))
            if not pending:
                return
            mark, future = pending.popleft()
            yield mark, future.result
    finally:
        # Not waited for: an interrupt should not have to sit out a large picture.
        pool.shutdown(wait=False, cancel_futures=True)


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in a thread while the one before is used."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="anytag-ahead")
    try:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
