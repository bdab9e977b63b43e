"""Little address space and few processes: libraries that would end the process are not let, and one line says why."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest
from conftest import ROOT

from anytag.errors import ResourceError
from anytag.foundations import headroom

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux has them")

CAT = str(ROOT / "examples" / "cat.jpg")

PROGRAM = f"""
import anytag
try:
    print(anytag.load().tag({CAT!r}).tags[0].name)
except anytag.AnytagError as error:
    print(type(error).__name__, error)
"""


def run(*arguments, megabytes):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 10**6,) * 2)

    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, preexec_fn=limit, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("megabytes", [90, 125, 230, 330])
def test_an_interrupted_command_prints_one_line(megabytes):
    code, out, error = run("-m", "anytag", "tag", CAT, megabytes=megabytes)
    assert (code, out) == (2, ""), error
    assert error.startswith("anytag")
    assert error.count("\n") == 1
    assert "memory" in error


@pytest.mark.parametrize("megabytes", [90, 125, 230, 330])
def test_a_program_gets_a_resource_error(megabytes):
    code, out, error = run("-c", PROGRAM, megabytes=megabytes)
    assert (code, error) == (0, "")
    assert out.startswith("ResourceError ")


def test_the_message_names_the_limit():
    _, _, error = run("-m", "anytag", "--help", megabytes=90)
    assert error.startswith("anytag: the limit of address space (ulimit -v) leaves ")
    assert error.endswith(" MB of memory, and about 100 MB are needed; raise it\n")


def test_with_a_limit_that_is_enough_everything_works():
    assert run("-m", "anytag", "tag", CAT, "--top", "1", megabytes=2000)[0] == 0


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    yield lambda: os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ.pop("OPENBLAS_NUM_THREADS", None)


def test_without_limits_nothing_is_changed(fresh, monkeypatch):
    monkeypatch.setattr(headroom, "address_space_left", lambda: None)
    headroom.prepare_libraries()
    assert fresh() is None


def test_with_little_room_openblas_gets_one_thread(fresh, monkeypatch):
    monkeypatch.setattr(headroom, "address_space_left", lambda: 10**9)
    headroom.prepare_libraries()
    assert fresh() == "1"
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")  # What the user says, stays.
    headroom.prepare_libraries()
    assert fresh() == "3"


def test_without_processes_openblas_gets_one_thread(fresh, monkeypatch):
    def refused(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(headroom, "address_space_left", lambda: None)
    monkeypatch.setattr("threading.Thread.start", refused)
    headroom.prepare_libraries()
    assert fresh() == "1"


def test_imported_libraries_need_no_more_memory(monkeypatch):
    monkeypatch.setattr(headroom, "address_space_left", lambda: 0)
    headroom.prepare_libraries()
    headroom._multiply.cache_clear()
    with pytest.raises(ResourceError, match=r"leaves 0 MB of memory, and about 64 MB are needed; raise it"):
        headroom.allocate_blas_buffers()
