"""How threads wait: asleep, or as the user says."""

import os
import subprocess
import sys

import pytest

from anytag.foundations import thread_waiting
from anytag.foundations.thread_waiting import spin_briefly, wait_passively


@pytest.fixture
def nothing_chosen(monkeypatch):
    monkeypatch.setattr(thread_waiting, "_CHOSEN_BY_USER", False)
    for name in thread_waiting._VARIABLES:
        monkeypatch.setenv(name, "as before the test")
        monkeypatch.delenv(name)


def chosen():
    return {name: os.environ[name] for name in thread_waiting._VARIABLES if name in os.environ}


def test_threads_sleep(nothing_chosen):
    wait_passively()
    assert chosen() == {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def test_they_spin_where_that_can_be_stopped(nothing_chosen, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    wait_passively()
    assert spin_briefly()
    assert chosen() == {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "10000"}


def test_elsewhere_they_sleep(nothing_chosen, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not spin_briefly()
    assert chosen() == {}


@pytest.mark.parametrize(
    "users", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"KMP_BLOCKTIME": "200"}, {"GOMP_SPINCOUNT": "infinity"}]
)
def test_threads_wait_as_the_user_says(users):
    code = "import os; from anytag.foundations.thread_waiting import *; wait_passively(); print(spin_briefly(), "
    code += f"{{name: os.environ[name] for name in {thread_waiting._VARIABLES} if name in os.environ}})"
    kept = {name: value for name, value in os.environ.items() if name not in thread_waiting._VARIABLES}
    done = subprocess.run([sys.executable, "-c", code], env=kept | users, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"False {users}"


def test_the_command_line_says_so_before_pytorch_is_there():
    code = "import os, sys; from anytag.cli._process import run_command\n"
    code += "run_command(lambda: print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY']))"
    kept = {name: value for name, value in os.environ.items() if name not in thread_waiting._VARIABLES}
    done = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "PASSIVE"]
