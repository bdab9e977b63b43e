"""Two processes never write into one folder, and a killed one holds nothing."""

import os
import signal
import subprocess
import sys

import pytest

from anytag.errors import UsageError
from anytag.foundations.folder_locks import only_writer, only_writer_of

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


def test_a_path_that_was_written_has_no_lock_file_beside_it(tmp_path):
    with only_writer_of(tmp_path / "deep" / "model"):
        assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / ".model.lock"]
    assert not list((tmp_path / "deep").iterdir())


def test_it_is_free_again_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), only_writer(tmp_path, "", ""):
            raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError), only_writer_of(tmp_path / "model"):
            raise ZeroDivisionError
