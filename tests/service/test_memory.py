"""The process returns memory that it does not need."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT

#: Threads make many small blocks and keep a few of them, as a model that is loaded in one leaves its traces.
PROGRAM = """
import ctypes, threading
from anytag.service.memory import give_back_memory, use_one_heap

def megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

use_one_heap()
before, kept, held = megabytes(), [], []

def work():
    blocks = [ctypes.create_string_buffer(3000) for _ in range(2000)]
    kept.append(blocks[1000])
    held.append(blocks)

for _ in range(4):
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
most = megabytes()
held.clear()
give_back_memory()
print(most - before, megabytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's C library")
def test_what_is_free_goes_back_to_the_system():
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True, timeout=60
    )
    grew, left = map(float, done.stdout.split())
    assert grew > 25
    assert left < 8
