"""Measure the disk usage of a fresh installation without extras."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _common import ROOT


def installed_size() -> dict[str, Any]:
    """Install the project into a new environment and add up the sizes of all packages except pip."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        python = next(p for p in (environment / "bin" / "python", environment / "Scripts" / "python.exe") if p.exists())
        ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        site = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
        before = _sizes(site)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(ROOT)], check=True)
        after = _sizes(site)
    added = {name: size - before.get(name, 0) for name, size in after.items()}
    largest = sorted(added.items(), key=lambda item: -item[1])[:10]
    return {"megabytes": sum(added.values()) / 1e6, "largest": {name: size / 1e6 for name, size in largest}}


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every entry of a folder, as allocated on disk if known."""
    return {
        entry.name: sum(_allocated(path) for path in (entry.rglob("*") if entry.is_dir() else [entry]))
        for entry in folder.iterdir()
    }


def _allocated(path: Path) -> int:
    status = path.lstat()
    blocks = getattr(status, "st_blocks", None)
    return status.st_size if blocks is None else blocks * 512
