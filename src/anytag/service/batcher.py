"""Recognize pictures of many requests together: one thread per model, a bounded queue, and no model while idle."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from anytag.service.errors import ServiceError
from anytag.service.memory import give_back_memory

#: Processes several inputs with a model; yields one result each, in order, which may be an error.
Work = Callable[[Any, Sequence[Any]], Iterable[Any]]

#: Highest number of batches passed to the model at once, which reads pictures while it computes.
_AHEAD = 4


@dataclass(slots=True)
class _Job:
    """One waiting input."""

    key: Any
    work: Work
    item: Any
    deadline: float
    future: Future[Any] = field(default_factory=Future)


class Batcher:
    """Run the jobs of one model, similar ones together.

    Args:
        load: Loads the model, with the first job and after it was unloaded.
        batch_size: Jobs that the model runs together; if more wait, it gets several batches at once.
        batch_wait: Seconds to wait for more jobs.
        queue: Highest number of waiting jobs.
        idle_unload: Seconds after which an idle model is unloaded; 0: never.
        observe: Called with the number of jobs given to the model at once, and the seconds they took.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        batch_size: int,
        batch_wait: float,
        queue: int,
        idle_unload: float,
        observe: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        self._load, self._observe = load, observe
        self._batch_size, self._batch_wait, self._queue, self._idle = batch_size, batch_wait, queue, idle_unload
        self._waiting: deque[_Job] = deque()
        self._condition = threading.Condition()
        self._stopping = False
        #: Moving average of the seconds per input.
        self._pace = 0.0
        self._model: Any = None
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Number of jobs in the queue."""
        return len(self._waiting)

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._model is not None

    def submit(self, key: Any, work: Work, items: Sequence[Any], timeout: float) -> list[Future[Any]]:
        """Queue inputs.

        Args:
            key: Inputs with equal keys may be processed together.
            work: Processes them.
            items: The inputs.
            timeout: Seconds after which an input that still waits is dropped.

        Returns:
            A future per input.

        Raises:
            ServiceError: If the queue has no room for all of them, or the service is stopping.
        """
        deadline = time.monotonic() + timeout
        jobs = [_Job(key, work, item, deadline) for item in items]
        with self._condition:
            if self._stopping:
                raise ServiceError(503, "stopping", "the service is stopping", retry_after=5)
            # Cancelled jobs take no room.
            self._waiting = deque(job for job in self._waiting if not job.future.cancelled())
            # A request larger than the queue is accepted if nothing else waits.
            if self._waiting and len(self._waiting) + len(jobs) > self._queue:
                raise _overloaded(retry_after=1)
            # Jobs that could not finish in time are refused at once.
            wait = (len(self._waiting) + len(jobs)) * self._pace
            if self._waiting and wait > timeout:
                raise _overloaded(retry_after=math.ceil(wait - timeout))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="anytag-model", daemon=True)
                self._thread.start()
            self._waiting.extend(jobs)
            self._condition.notify()
        return [job.future for job in jobs]

    def stop(self) -> None:
        """Accept no more jobs, finish those that wait, and end the thread."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if batch is None:
                return
            if batch:
                self._perform(batch)

    def _next_batch(self) -> list[_Job] | None:
        """Return the next similar jobs; none after unloading an idle model; ``None`` at the end."""
        with self._condition:
            idle = self._idle if self._idle and self._model is not None else None
            if not self._condition.wait_for(lambda: self._waiting or self._stopping, idle):
                self._model = None
                give_back_memory()
                return []
            if not self._waiting:
                return None
            if len(self._waiting) < self._batch_size and not self._stopping:
                self._condition.wait(self._batch_wait)
            key = self._waiting[0].key
            batch: list[_Job] = []
            kept: deque[_Job] = deque()
            while self._waiting and len(batch) < _AHEAD * self._batch_size:
                job = self._waiting.popleft()
                (batch if job.key == key else kept).append(job)
            self._waiting.extendleft(reversed(kept))
            return batch

    def _perform(self, batch: list[_Job]) -> None:
        now = time.monotonic()
        for job in batch:
            if job.deadline < now:
                job.future.cancel()
        live = [job for job in batch if job.future.set_running_or_notify_cancel()]
        if not live:
            return
        unanswered = deque(live)
        try:
            if self._model is None:
                self._model = self._load()
            begun = time.monotonic()
            for result in live[0].work(self._model, [job.item for job in live]):
                _answer(unanswered.popleft(), result)
            pace = (time.monotonic() - begun) / len(live)
            self._pace = pace if not self._pace else 0.7 * self._pace + 0.3 * pace
            self._observe(len(live), time.monotonic() - now)
        except MemoryError:
            error = ServiceError(503, "memory", "there is not enough memory for this request", 5)
            for job in unanswered:
                _answer(job, error)
        except Exception as error:  # The thread must survive any request.
            for job in unanswered:
                _answer(job, error)


def _overloaded(retry_after: int) -> ServiceError:
    message = "too many pictures are waiting; try again in a moment"
    return ServiceError(429, "overloaded", message, retry_after)


def _answer(job: _Job, result: Any) -> None:
    if isinstance(result, BaseException):
        job.future.set_exception(result)
    else:
        job.future.set_result(result)
