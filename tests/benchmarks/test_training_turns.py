"""The turns of ``benchmarks/training_rate.py``: who runs when, and what is counted."""

from __future__ import annotations

import _training_turns
import pytest
from _training_turns import Clock, PlainLoop, Turns

torch = pytest.importorskip("torch")


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only where a test says so."""
    now = [0.0]
    monkeypatch.setattr(_training_turns.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(_training_turns, "processor_seconds", lambda: now[0] / 2)
    return now


def test_both_run_the_same_steps_and_are_timed_alike(clock):
    order = []

    def plain():
        order.append("p")
        clock[0] += 1

    turns = Turns(plain, rounds=2, steps=3, unseen=1)
    for _ in range(2 * turns.length + 1):
        turns.before_step()
        order.append("o")
        clock[0] += 4
    assert "".join(order) == "pppp" + "oooo" + "pppp" + "oooo" + "o"
    assert turns.plain.wall == [3, 3]
    assert turns.ours.wall == [12, 12]
    found = turns.figures(batch_size=8)
    assert found["rounds"] == 2
    assert found["ours"] == {"per_second": 2 * 24 / 24, "per_cpu_second": 2 * 24 / 12}
    assert found["plain"]["per_second"] == 8
    assert (found["ratio_wall"], found["ratio_cpu"], found["ratios_wall"]) == (0.25, 0.25, [0.25, 0.25])


def test_a_stage_is_long_enough_to_end_the_last_turn():
    turns = Turns(lambda: None, rounds=2, steps=3, unseen=1)
    assert round(turns.epochs(steps_per_epoch=5) * 5) == 9


def test_a_run_that_is_too_short(clock):
    turns = Turns(lambda: None, rounds=1, steps=3, unseen=1)
    turns.before_step()
    with pytest.raises(SystemExit, match="no turn was completed"):
        turns.figures(8)


def test_a_clock_that_was_not_started_does_not_stop():
    clock = Clock()
    clock.stop()
    assert clock.wall == []


def test_the_plain_loop_learns():
    model = torch.nn.Linear(1, 1)
    batches = iter([torch.ones(1, 1)] * 3)
    before = model.weight.item()
    loop = PlainLoop(model, lambda batch: model(batch).sum(), batches, False, (0.9, 0.99), 1.0, 1e-3)
    for _ in range(3):
        loop()
    assert model.weight.item() < before
