"""Workers end when whoever started them is killed: of a pool that is idle, busy, forked or spawned."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

#: A pool of two workers, which tell their ids and then wait for work, or work for ever.
POOL = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from anytag.foundations.worker_processes import end_with_parent
def work(busy):
    time.sleep(600 if busy else 0.3)
    return os.getpid()
if __name__ == "__main__":
    pool = ProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1]), initializer=end_with_parent)
    list(pool.map(work, [False, False]))
    if sys.argv[2] == "busy":
        jobs = [pool.submit(work, True) for _ in range(2)]
    print(*pool._processes, flush=True)
    time.sleep(600)
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that has ended and was not asked about yet is not an orphan.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at /proc")
@pytest.mark.parametrize("start", ["spawn", "fork"])
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_no_worker_is_left(tmp_path, start, state):
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    with subprocess.Popen([sys.executable, script, start, state], stdout=subprocess.PIPE, text=True) as parent:
        workers = list(map(int, parent.stdout.readline().split()))
        assert len(workers) == 2
        assert all(map(alive, workers))
        parent.send_signal(signal.SIGKILL)
        parent.wait(60)
        deadline = time.monotonic() + 30
        while any(map(alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(alive, workers))


#: A pool of workers that need a lock, which the main program holds.
LOCKED = """
import threading
from anytag.foundations.worker_processes import process_pool
LOCK = threading.Lock()
def prepare():
    LOCK.acquire()
if __name__ == "__main__":
    LOCK.acquire()
    with process_pool(2, prepare) as pool:
        print(list(pool.map(abs, [-1, -2])))
"""


def test_workers_do_not_inherit_locks(tmp_path):
    """As those of a library's threads at the moment of a fork."""
    program = tmp_path / "locked.py"
    program.write_text(LOCKED)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[1, 2]\n"
