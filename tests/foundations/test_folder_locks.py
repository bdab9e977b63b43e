"""Two processes never write into one folder, and a killed one holds nothing."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from filelock import FileLock

from anytag.errors import UsageError
from anytag.foundations.folder_locks import LockedError, locked, only_writer, only_writer_of, taking_turns

#: Holds argv[2] until it is killed.
HOLDER = """
import sys, time
from pathlib import Path
from anytag.foundations import folder_locks
held = (
    folder_locks.only_writer(Path(sys.argv[2]), "another run trains", "give another --run")
    if sys.argv[1] == "folder"
    else folder_locks.only_writer_of(Path(sys.argv[2]))
)
with held:
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("folder", "another run trains here; wait until it is done, or give another --run"),
        ("path", "another process is writing this; wait until it is done"),
    ],
)
def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, kind, message):
    place = tmp_path / "work"

    def held():
        if kind == "folder":
            return only_writer(place, "another run trains", "give another --run")
        return only_writer_of(place)

    with subprocess.Popen([sys.executable, "-c", HOLDER, kind, place], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError) as refused, held():
            pass
        other.kill()
        assert other.wait(60) == -signal.SIGKILL
    assert str(refused.value) == f"{place}: {message}"
    with held():
        pass


def test_no_lock_file_is_left(tmp_path):
    with only_writer_of(tmp_path / "deep" / "model"):
        assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / ".model.lock"]
    with only_writer(tmp_path / "deep", "", ""):
        assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / ".lock"]
    assert not list((tmp_path / "deep").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows does not remove what is open")
def test_a_file_removed_while_it_is_locked_is_no_lock(tmp_path, monkeypatch):
    """Its last holder removes it between our opening it and our locking it; a third makes it anew and holds that."""
    file, acquire, third = tmp_path / ".lock", FileLock.acquire, []

    def late(lock, *arguments, **more):
        held = acquire(lock, *arguments, **more)
        if not third:
            file.unlink()
            third.append(FileLock(file, timeout=0))
            acquire(third[0])
        return held

    monkeypatch.setattr(FileLock, "acquire", late)
    with pytest.raises(LockedError), locked(file):
        pass
    third[0].release()
    with locked(file):
        pass
    assert not file.exists()


#: Takes the lock argv[2] times, and writes down whenever somebody else held it, too.
TAKER = """
import os, sys, time
from pathlib import Path
from anytag.foundations.folder_locks import locked
file = Path(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with locked(file, lambda: None):
        os.close(os.open(file.with_name("inside"), os.O_CREAT | os.O_EXCL))
        os.unlink(file.with_name("inside"))
"""


def test_many_processes_take_turns(tmp_path):
    command = [sys.executable, "-c", TAKER, tmp_path / ".lock", "200"]
    takers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    assert [(taker.wait(60), taker.stderr.read()) for taker in takers] == [(0, b"")] * 4
    assert not list(tmp_path.iterdir())


def test_an_error_releases_the_lock(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), only_writer(tmp_path, "", ""):
            raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError), only_writer_of(tmp_path / "model"):
            raise ZeroDivisionError


def test_a_waiting_process_reports_once(tmp_path):
    """Two runs that filled one cache at the same time took each other's half-written files away."""
    said, order = [], []

    def other():
        with taking_turns(tmp_path / "cache", "another run fills this cache", said.append):
            order.append("second")

    with taking_turns(tmp_path / "cache", "another run fills this cache", said.append):
        thread = threading.Thread(target=other)
        thread.start()
        while not said:
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert said == [f"{tmp_path / 'cache'}: another run fills this cache; waiting until it is done"]
    assert list((tmp_path / "cache").iterdir()) == []
