"""A run stopped by a signal finishes its step, saves, and resumes as if it had not been stopped."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import toy_run
from toy_run import assert_same, make, records, weights

from anytag.foundations.interrupts import StoppedBySignalError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends signals")


def signaling(number, at):
    """A step function that is interrupted by a signal."""

    def step(model, place, stage, share):
        if place == at:
            os.kill(os.getpid(), number)
        return toy_run.step(model, place, stage, share)

    return step


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    loop = make(tmp_path_factory.mktemp("straight"))
    loop.run()
    return loop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU])
@pytest.mark.parametrize("at", [0, 7, 12])
def test_the_step_is_finished_and_saved_and_the_end_is_the_same(straight, tmp_path, number, at):
    handler, lines = signal.getsignal(number), []
    loop = make(tmp_path, step=signaling(number, at), lines=lines)
    with pytest.raises(StoppedBySignalError) as stopped:
        loop.run()
    assert stopped.value.signal == number
    assert stopped.value.status == 128 + number
    assert str(stopped.value) == (
        f"{number.name}: saved at step {at + 1} ({tmp_path / 'checkpoint.pt'}); go on with the same command"
    )
    assert any(line.startswith(f"{number.name}: finishing this step and saving a checkpoint") for line in lines)
    assert signal.getsignal(number) == handler
    again = make(tmp_path)
    assert again.resume()
    assert again.step == at + 1
    assert again.run()
    assert_same(weights(again), weights(straight))


def test_a_second_signal_does_not_wait(tmp_path):
    def step(model, place, stage, share):
        if place == 7:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return toy_run.step(model, place, stage, share)

    with pytest.raises(KeyboardInterrupt) as stopped:
        make(tmp_path, step=step).run()
    assert not isinstance(stopped.value, StoppedBySignalError)
    again = make(tmp_path)
    assert again.resume()
    assert again.step == 5


@pytest.mark.parametrize(("at", "step"), [(10, 10), (24, 24)], ids=["on the way", "the last"])
def test_figures_are_not_waited_for_and_the_last_ones_are_made_when_the_run_goes_on(straight, tmp_path, at, step):
    loop = make(tmp_path)
    validate = loop.validate

    def signaled(model, final):
        if loop.step == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(model, final)

    loop.validate = signaled
    with pytest.raises(StoppedBySignalError, match=f"saved at step {step} "):
        loop.run()
    assert at not in [record["step"] for record in records(tmp_path) if "validation" in record]
    again = make(tmp_path)
    again.resume()
    assert again.run()
    assert_same(weights(again), weights(straight))
    assert [record["step"] for record in records(tmp_path) if "validation" in record][-1] == 24


def test_ignored_signals_stay_ignored(tmp_path):
    """Under nohup, closing the terminal does not end the run."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert make(tmp_path, step=signaling(signal.SIGHUP, 3)).run()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_a_run_goes_its_way(tmp_path):
    done = []
    worker = threading.Thread(target=lambda: done.append(make(tmp_path).run()))
    worker.start()
    worker.join()
    assert done == [True]
