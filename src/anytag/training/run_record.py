"""The record of a run in its folder: the current recipe, changes, how it was started, and whether it ended.

``recipe.json`` contains the current settings, ``run.json`` one entry for every time that the run was started or
resumed: time, step, command, ``--set`` arguments, data folder, versions, processes and device.
"""

from __future__ import annotations

import datetime
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from anytag.errors import UsageError
from anytag.foundations.atomic_files import write_text
from anytag.foundations.settings import Settings
from anytag.model.directory import RUN_FILE

RECIPE_FILE = "recipe.json"

_PACKAGES = ("anytag", "torch", "numpy", "pillow")


def check_folders(data: Path, folder: Path) -> None:
    """Check the data folder and the run folder, which need not exist.

    Raises:
        UsageError: If one of them is a file, or the run folder contains a model.
    """
    if data.is_file():
        raise UsageError(
            f"{data}: is a file; data is the folder that the recipe's sources lie in, and the file one of these "
            f"sources: --data {data.parent} --set 'sources=[\"{data.name}\"]'"
        )
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder; data is the one that the recipe's sources lie in")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give a folder for the run")
    if (folder / "config.json").is_file() and not (folder / RECIPE_FILE).is_file():
        raise UsageError(f"{folder}: holds a model; give another folder for the run, whose model/ will be the new one")


class RunRecord:
    """The record of a run in its folder; ``settings`` are the ``--set`` arguments, if started from the command line."""

    def __init__(
        self,
        folder: Path,
        config: Settings,
        data: Path,
        processes: int = 1,
        settings: Sequence[str] | None = None,
        device: str = "cpu",
    ):
        self.folder, self.config, self.data, self.device = folder, config, data, device
        self.processes, self.settings = processes, settings
        self._record = _read(folder / RUN_FILE)
        self._before = _read(folder / RECIPE_FILE)

    @property
    def finished_at(self) -> int | None:
        """The last step of a finished run; ``None`` if it is unfinished or not recorded."""
        found = self._record.get("finished")
        return found if isinstance(found, int) else None

    @property
    def made_of(self) -> dict[str, Any]:
        """Digests of the run's data; empty if not recorded."""
        times = self._record.get("times") or [{}]
        found = times[-1].get("made_of")
        return found if isinstance(found, dict) else {}

    def changes(self) -> dict[str, str]:
        """Changes of the recipe since the last start: ``{"batch_size": "8 → 16"}``."""
        if not self._before:
            return {}
        before, now = _flat(self._before), _flat(json.loads(self.config.model_dump_json()))
        names = [*before, *(name for name in now if name not in before)]
        return {
            name: f"{_shown(before, name)} → {_shown(now, name)}"
            for name in names
            if before.get(name, _MISSING) != now.get(name, _MISSING)
        }

    def begin(self, step: int, made_of: Mapping[str, Any] | None = None) -> None:
        """Record that the run starts or resumes at a step, once that is certain; ``made_of`` digests its data."""
        entry = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "step": step,
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "set": None if self.settings is None else list(self.settings),
            "data": str(self.data.resolve()),
            "processes": self.processes,
            "device": self.device,
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
            "commit": _commit(),
            "changes": self.changes(),
            "made_of": dict(made_of or {}),
        }
        self._record = {"times": [*self._record.get("times", ()), entry], "finished": None}
        write_text(self.folder / RECIPE_FILE, self.config.model_dump_json(indent=2) + "\n")
        self._write()

    def finish(self, step: int) -> None:
        """Record that the run has ended, after its model was written."""
        self._record["finished"] = step
        self._write()

    def _write(self) -> None:
        write_text(self.folder / RUN_FILE, json.dumps(self._record, indent=2, ensure_ascii=False) + "\n")


_MISSING = object()


def _read(path: Path) -> dict[str, Any]:
    """Read a record; empty if there is none.

    Raises:
        UsageError: If it is damaged; a finished run could otherwise be resumed.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: is damaged; restore it, or delete it if you go on with the same settings")
    return found


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Values by their path, in the notation of ``--set``."""
    if isinstance(value, dict) and value:
        entries = value.items()
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        entries = ((str(place), entry) for place, entry in enumerate(value))  # type: ignore[assignment]
    else:
        return {name: value}
    return {
        path: leaf for key, inner in entries for path, leaf in _flat(inner, f"{name}.{key}" if name else key).items()
    }


def _shown(flat: dict[str, Any], name: str) -> str:
    if name not in flat:
        return "not set"
    return flat[name] if isinstance(flat[name], str) else json.dumps(flat[name], ensure_ascii=False)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source tree that anytag runs from, if it runs from one."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # For a package installed in an environment inside another repository, it is that repository's commit.
    return done.stdout.strip() if "site-packages" not in here.parts else None
