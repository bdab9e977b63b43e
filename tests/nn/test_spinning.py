"""Threads spin while the processors are idle, and sleep beside others."""

import json
import os
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch")

from anytag.nn import spinning  # noqa: E402 (after PyTorch is known to be there)

#: Processor time of 60 parallel loops with pauses between them: free, held, and free again.
PAUSES = """
import json, time, torch
from anytag.nn.spinning import Throttle
torch.set_num_threads(2)
numbers = torch.ones(1 << 17)

def used():
    begun = time.process_time()
    for _ in range(60):
        numbers.fill_(1)
        time.sleep(0.004)
    return time.process_time() - begun

throttle = Throttle()
used()
found = [used()]
throttle.hold()
found.append(used())
throttle.release()
found.append(used())
print(json.dumps(found + [throttle.held, torch.get_num_threads()]))
"""


@pytest.mark.skipif(sys.platform != "linux" or spinning._PROCESSORS < 2, reason="GNU's OpenMP on two processors")
def test_held_threads_sleep_and_then_spin_again():
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    ways = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "100000"}
    processors = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
    bound = f"import os; os.sched_setaffinity(0, [{processors}])\n"
    done = subprocess.run(
        [sys.executable, "-c", bound + PAUSES], env=kept | ways, capture_output=True, text=True, check=True
    )
    free, held, again, is_held, threads = json.loads(done.stdout)
    assert held < free / 2
    assert held < again / 2
    assert (is_held, threads) == (False, 2)


class FakeThrottle:
    def __init__(self, log):
        self.log, self.held = log, False

    def hold(self):
        self.log.append("hold")

    def release(self):
        self.log.append("release")


class FakeWork:
    def __init__(self, values):
        self.values = iter(values)

    def processors(self):
        for value in self.values:
            return value
        raise OSError("no more")


@pytest.mark.parametrize(
    ("others", "processors", "log"),
    [
        ([0.05, 0.2, 0.05], 2, ["release", "release"]),
        # A load between the two limits changes nothing.
        ([1.0, 0.2, 0.05], 2, ["hold", "release"]),
        # Two of four processors are free.
        ([1.0, 2.2, 2.4, 1.9], 4, ["release", "hold", "release"]),
        # Bound to one, two threads are too many.
        ([0.0], 1, ["hold"]),
        ([], 2, []),
    ],
)
def test_threads_sleep_while_others_need_their_processors(monkeypatch, others, processors, log):
    seen = []
    monkeypatch.setattr(spinning, "_PAUSE", 0.001)
    monkeypatch.setattr(spinning, "Throttle", lambda: FakeThrottle(seen))
    monkeypatch.setattr(spinning, "OtherProcessLoad", lambda: FakeWork(others))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(processors)), raising=False)
    with spinning.spinning_while_idle():
        # In the end the system does not tell anymore: that is held as well.
        limit = time.monotonic() + 5
        while len(seen) <= len(log) and time.monotonic() < limit:
            time.sleep(0.001)
    assert seen == [*log, "hold", "release"]


def test_the_watch_ends_where_the_system_tells_nothing(monkeypatch):
    def unreadable():
        raise FileNotFoundError("/proc/stat")

    seen = []
    monkeypatch.setattr(spinning, "Throttle", lambda: FakeThrottle(seen))
    monkeypatch.setattr(spinning, "OtherProcessLoad", unreadable)
    with spinning.spinning_while_idle():
        pass
    assert seen == ["hold", "release"]


def test_one_thread_has_nobody_to_wait_for(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    throttle = spinning.Throttle()
    throttle.hold()
    assert not throttle.held


@pytest.mark.parametrize(("threads", "processors", "holders"), [(2, 2, 1), (2, 4, 3), (4, 4, 1), (4, 8, 2), (2, 64, 0)])
def test_so_many_holders_that_threads_outnumber_processors(monkeypatch, threads, processors, holders):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(spinning, "_PROCESSORS", processors)
    throttle = spinning.Throttle()
    throttle.hold()
    assert len(throttle._holders) == holders
    assert throttle.held == bool(holders)
    throttle.release()
    assert not throttle.held
    if holders:
        assert threads + holders * (threads - 1) > processors >= threads + (holders - 1) * (threads - 1)
