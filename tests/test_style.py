"""The whole project passes its linter, formatter and type checker."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT, require_module

CHECKS = {
    "lint": ("ruff", "check", "."),
    "format": ("ruff", "format", "--check", "."),
    "types": ("mypy",),
}


@pytest.mark.parametrize("check", CHECKS)
def test_style(check: str) -> None:
    tool, *arguments = CHECKS[check]
    require_module(tool)
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
