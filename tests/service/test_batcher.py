"""The queue of a model: accepted jobs finish in time; others are refused with a time to retry."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("fastapi")

from anytag.service.batcher import Batcher
from anytag.service.errors import ServiceError


@pytest.fixture
def made():
    batchers = []

    def make(**options):
        given = {"load": object, "batch_size": 1, "batch_wait": 0.0, "queue": 100, "idle_unload": 0.0}
        batchers.append(Batcher(**given | options))
        return batchers[-1]

    yield make
    for batcher in batchers:
        batcher.stop()


def test_jobs_that_cannot_finish_in_time_are_refused(made):
    batcher = made()
    clock = threading.Event()

    def slow(model, items):
        clock.wait(0.2)
        return items

    assert batcher.submit("a", slow, [0], timeout=10)[0].result(10) == 0  # It takes 0.2 seconds, as is known now.
    first = batcher.submit("a", slow, list(range(10)), timeout=10)
    with pytest.raises(ServiceError) as refused:
        batcher.submit("a", slow, list(range(10)), timeout=0.5)
    assert (refused.value.status, refused.value.kind) == (429, "overloaded")
    assert 1 <= refused.value.retry_after <= 10
    assert batcher.submit("a", slow, [10], timeout=60)[0].result(30) == 10
    assert [future.result(30) for future in first] == list(range(10))


def test_a_long_request_is_accepted_when_nothing_waits(made):
    batcher = made()
    assert batcher.submit("a", lambda model, items: items, [1], timeout=1)[0].result(10) == 1
    batcher._pace = 100.0
    assert batcher.submit("a", lambda model, items: items, [2], timeout=1)[0].result(10) == 2


def test_results_are_returned_as_soon_as_they_are_ready(made):
    go_on = threading.Event()

    def work(model, items):
        yield items[0]
        go_on.wait(10)
        yield from items[1:]

    first, second = made(batch_size=2).submit("a", work, [1, 2], timeout=10)
    assert first.result(10) == 1
    assert not second.done()
    go_on.set()
    assert second.result(10) == 2


def test_what_fails_in_the_middle_leaves_the_answers_that_were_given(made):
    def work(model, items):
        yield items[0]
        raise ValueError("broken")

    answered, *failed = made(batch_size=4).submit("a", work, [1, 2, 3], timeout=10)
    assert answered.result(10) == 1
    for future in failed:
        with pytest.raises(ValueError, match="broken"):
            future.result(10)


def test_where_many_wait_the_model_is_given_several_batches_at_once(made):
    given, go_on = [], threading.Event()

    def work(model, items):
        given.append(len(items))
        go_on.wait(10)
        return items

    batcher = made(batch_size=2)
    first = batcher.submit("a", work, [0], timeout=10)
    while not given:
        pass
    rest = batcher.submit("a", work, list(range(20)), timeout=10)
    go_on.set()
    assert [future.result(10) for future in (*first, *rest)] == [0, *range(20)]
    assert given == [1, 8, 8, 4]
