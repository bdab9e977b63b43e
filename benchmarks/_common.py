"""Shared parts of the benchmarks: description of the machine, paths of data and results, tables on stdout."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from anytag.foundations.atomic_files import write_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"

#: Environment variable with the folder of validation shards, for benchmarks that need captioned pictures.
DATA_VARIABLE = "ANYTAG_DATA"


def cpu_model() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def memory_megabytes() -> int | None:
    """Main memory; ``None`` if unknown."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6)
    except (AttributeError, OSError, ValueError):
        return None


def installed_version(package: str) -> str | None:
    """Version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """Where and when a result was measured; a load far above 0 means that the machine was busy."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": cpu_model(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_mb": memory_megabytes(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: installed_version(name) for name in ("anytag", "onnxruntime", "numpy", "pillow")},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def add_data_argument(arguments: argparse.ArgumentParser, required: bool = True) -> None:
    """Add ``--data``, the folder with the shards."""
    default = os.environ.get(DATA_VARIABLE)
    arguments.add_argument(
        "--data",
        type=Path,
        default=Path(default) if default else None,
        required=required and default is None,
        help=f"folder with coco20k/ and flickr8k/ (default: the environment variable {DATA_VARIABLE})",
    )


def add_model_arguments(arguments: argparse.ArgumentParser, result: str) -> None:
    """``--model`` and ``--out``."""
    arguments.add_argument("--model", type=Path, help="model directory (default: the shipped model)")
    arguments.add_argument("--out", type=Path, default=RESULTS / result, help="write the result here, as JSON")


def parse_timing(description: str, rounds: int, result: str) -> argparse.Namespace:
    """Add ``--rounds``, ``--tiny`` and ``--out`` for a benchmark of networks with random weights."""
    arguments = argparse.ArgumentParser(description=description.partition("\n")[0])
    arguments.add_argument("--rounds", type=int, default=rounds)
    arguments.add_argument("--tiny", action="store_true", help="try the command in seconds; the figures mean nothing")
    arguments.add_argument("--out", type=Path, default=RESULTS / result)
    return arguments.parse_args()


def write_targets(path: Path, targets: Sequence[dict[str, Any]], record: dict[str, Any]) -> None:
    """Print the figures with targets, and write the result."""
    print_targets(targets)
    write_result(path, record | {"targets": targets})


def write_result(path: Path, record: dict[str, Any]) -> None:
    """Write a result atomically, and print its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(rounded(record), indent=1, allow_nan=False) + "\n")
    print(f"\nwritten to {path}")


def rounded(value: Any, digits: int = 4) -> Any:
    """JSON values with short numbers; NaN and infinity become null."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    if isinstance(value, float):
        if value - value != 0:
            return None
        return round(value, digits) if abs(value) >= 0.01 else float(f"{value:.3g}")
    return value


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table with text aligned left and numbers right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(header), *cells]) for column in range(len(header))]
    print(f"\n{title}")
    for line, row in [(list(header), None), *zip(cells, rows, strict=True)]:
        numeric = [row is not None and isinstance(cell, int | float) for cell in row or header]
        parts = [
            cell.rjust(width) if number or (row is None and place) else cell.ljust(width)
            for place, (cell, width, number) in enumerate(zip(line, widths, numeric, strict=True))
        ]
        print("  " + "  ".join(parts).rstrip())


def _cell(value: Any) -> str:
    """Format a number with three digits; empty if it was not measured or is undefined."""
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) >= 0.01 or not value else f"{value:.1e}"
    return str(value)


def target(name: str, value: float | None, limit: float, at_least: bool, unit: str = "") -> dict[str, Any]:
    """A figure and its target; ``ratio`` is value over limit."""
    reached = None if value is None else (value >= limit if at_least else value <= limit)
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "target": limit,
        "wanted": "at least" if at_least else "at most",
        "ratio": None if value is None or not limit else value / limit,
        "reached": reached,
    }


def print_targets(targets: Sequence[dict[str, Any]]) -> None:
    """All figures with targets, and whether they reach them."""
    rows = [
        [
            t["name"],
            None if t["value"] is None else float(t["value"]),
            t["unit"],
            f"{'≥' if t['wanted'] == 'at least' else '≤'} {t['target']:g}",
            None if t["ratio"] is None else float(t["ratio"]),
            {True: "reached", False: "MISSED", None: "not measured"}[t["reached"]],
        ]
        for t in targets
    ]
    table("Targets", ["figure", "measured", "unit", "target", "ratio", ""], rows)
