"""Pictures of many requests recognized together: one thread a model, a bounded queue, and no model while idle."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from anytag.service.errors import ServiceError, overloaded, stopping
from anytag.service.memory import give_back_memory

#: Does one kind of work on several inputs: one result each, in order, as soon as there is one; it may be an error.
Work = Callable[[Any, Sequence[Any]], Iterable[Any]]

#: Batches that are handed to the model at once where so many wait: it reads the next while it computes.
_AHEAD = 4


@dataclass(slots=True)
class _Job:
    """One input that waits."""

    key: Any
    work: Work
    item: Any
    deadline: float
    future: Future[Any] = field(default_factory=Future)


class Batcher:
    """Runs jobs of one model, those of one kind together.

    Args:
        load: Opens the model; called when the first job comes, and again after it was unloaded.
        batch_size: Jobs that the model runs together; where more wait, it is given several batches at once.
        batch_wait: Seconds to wait for more.
        queue: Jobs that may wait.
        idle_unload: Seconds after which an idle model is let go; 0: never.
        observe: Told how many jobs the model was given at once, and the seconds that they took.
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
        #: Seconds that an input took lately.
        self._pace = 0.0
        self._model: Any = None
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._model is not None

    def submit(self, key: Any, work: Work, items: Sequence[Any], timeout: float) -> list[Future[Any]]:
        """Queue inputs.

        Args:
            key: Inputs with equal keys may be worked on together.
            work: What to do.
            items: The inputs.
            timeout: Seconds after which an input that still waits is dropped.

        Returns:
            A future a input.

        Raises:
            ServiceError: If the queue has no room for all of them, or the service is stopping.
        """
        deadline = time.monotonic() + timeout
        jobs = [_Job(key, work, item, deadline) for item in items]
        with self._condition:
            if self._stopping:
                raise stopping()
            # Whoever gave up no longer takes room.
            self._waiting = deque(job for job in self._waiting if not job.future.cancelled())
            # A request of more pictures than the queue holds is let in when nothing else waits.
            if self._waiting and len(self._waiting) + len(jobs) > self._queue:
                raise overloaded()
            # What would not be answered in time is not let in to wait for it.
            wait = (len(self._waiting) + len(jobs)) * self._pace
            if self._waiting and wait > timeout:
                raise overloaded(math.ceil(wait - timeout))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="anytag-model", daemon=True)
                self._thread.start()
            self._waiting.extend(jobs)
            self._condition.notify()
        return [job.future for job in jobs]

    def stop(self) -> None:
        """Take no more jobs, finish those that wait, and end."""
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
        """The next jobs of one kind; none after an idle time, in which the model goes; ``None`` at the end."""
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
        except Exception as error:  # The thread must live on, whatever a request brings.
            for job in unanswered:
                _answer(job, error)


def _answer(job: _Job, result: Any) -> None:
    if isinstance(result, BaseException):
        job.future.set_exception(result)
    else:
        job.future.set_result(result)
