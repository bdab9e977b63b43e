"""What tests share: the reference vectors and the data that lie outside the repository."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Two processes share two cores; threads of the one would wait, spinning, for those of the other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Started by nohup or in the background of a script, signals are ignored that tests send.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

import pytest
from fixtures_exported import exported  # noqa: F401 (a fixture)
from hypothesis import HealthCheck, settings

# How long an example takes says more about what else the machine does than about the code. CI has the same examples
# each time, so that what it says is about the change; new ones are found where people work.
settings.register_profile(
    "anytag", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("anytag")

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a process of pytest-xdist died that should not have: by which signal, or with which status."""
    process = getattr(node.gateway._io, "popen", None)
    if error and process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            sys.stderr.write(f"\n{node.gateway.id} ended with status {process.wait(10)} (negative: a signal)\n")


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str) -> None:
    """Name the test in which it died at once, not when all others are done."""
    sys.stderr.write(f"\ndied in {crashitem}\n")


def _missing(reason: str) -> None:
    """Skip where somebody works without the thing; fail where everything should be there."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so nothing may be missing)", pytrace=False)
    pytest.skip(reason)


def require(path: Path, what: str) -> Path:
    """The path, if it exists; else the test is skipped or, where ``CI`` is set, fails.

    Args:
        path: A file or folder that is not part of the repository.
        what: What it is, for the reason.
    """
    if not path.exists():
        _missing(f"{what} not found at {path}")
    return path


def require_module(name: str, extra: str = "dev") -> None:
    """The same for a package; it is looked for, not imported."""
    if importlib.util.find_spec(name) is None:
        _missing(f"{name} is not installed; it comes with: pip install -e '.[{extra}]'")


def require_program(name: str, package: str) -> None:
    """The same for a program.

    Args:
        name: As a shell would find it.
        package: Debian's package that brings it.
    """
    if shutil.which(name) is None:
        _missing(f"{name} is not installed; Debian has it in {package}")


def outside(variable: str, default: str) -> Path:
    """A folder that is not part of the repository; it may be absent."""
    return Path(os.environ.get(variable) or ROOT.parent / "shared" / default)


@pytest.fixture(scope="session")
def oracle() -> Path:
    """Folder of vectors that the public reference implementation computed (``ANYTAG_ORACLE``)."""
    return require(outside("ANYTAG_ORACLE", "oracle"), "the reference's vectors")


@pytest.fixture
def oracle_set(request: pytest.FixtureRequest, oracle: Path) -> object:
    """One model of the reference, for tests marked with ``oracle_sets.each_oracle_set``."""
    if request.param is None:
        _missing(f"the reference's vectors hold no such model: {oracle}")
    return request.param


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of pictures with captions (``ANYTAG_DATA``)."""
    return require(outside("ANYTAG_DATA", "data"), "pictures with captions")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real browser without a window: Debian's Chromium, driven by Playwright."""
    require_module("playwright")
    require_program("chromium", "chromium")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        yield running
        running.close()
