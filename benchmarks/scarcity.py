"""Test anytag under limits of address space (``ulimit -v``) and of processes (``ulimit -u``).

    python benchmarks/scarcity.py

Each command runs once under every limit. It must either work or end with a one-line message about what ran out. For
comparison, the result has the lowest limit at which ``python -c pass`` runs. Processes are limited for a user without
other processes, because the limit counts all processes of a user and none of root; this needs root and util-linux's
setpriv.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import RESULTS, ROOT, machine, table, write_result

#: Run a command as a user without other processes, who may read what root may.
_FOR_NOBODY = ("setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups")
_FOR_NOBODY += ("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search")

_PROGRAM = """
import anytag
try:
    print(anytag.load().tag("c.jpg").tags[0].name)
except anytag.AnytagError as error:
    raise SystemExit(f"anytag: {error}")
"""

COMMANDS = {
    "--help": ("-m", "anytag", "--help"),
    "tag": ("-m", "anytag", "tag", "c.jpg"),
    "caption": ("-m", "anytag", "caption", "c.jpg"),
    "in Python": ("-c", _PROGRAM),
    "python alone": ("-c", "print(1)"),
}


def outcome(arguments: tuple[str, ...], folder: Path, limit: Callable[[], None], as_nobody: bool = False) -> str:
    """``works``, ``said`` (a one-line error of anytag), or any other output."""
    settings = {"PYTHONPATH": str(ROOT / "src"), "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    settings |= {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*_FOR_NOBODY, sys.executable, *arguments] if as_nobody else [sys.executable, *arguments],
            cwd=folder,
            env=settings,
            capture_output=True,
            preexec_fn=limit,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        return "hangs"
    except OSError as error:
        return f"not started: {error.strerror}"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode == 0 and done.stdout.strip() and not said:
        return "works"
    if done.returncode in (1, 2) and len(said) == 1 and said[0].startswith("anytag"):
        return f"said: {said[0].partition(': ')[2]}"
    return f"status {done.returncode}: {(said or ['nothing'])[-1][:150]}"


def sweep(limits: list[int], folder: Path, kind: int, unit: int, as_nobody: bool) -> dict[str, dict[int, str]]:
    """The outcome of every command under every limit.

    Args:
        limits: Limits in units.
        folder: Folder with the picture.
        kind: Kind of limit.
        unit: Unit of the limit.
        as_nobody: Run commands as a user without other processes.
    """

    def limited(limit: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(kind, (limit * unit,) * 2)

    return {
        name: {limit: outcome(arguments, folder, limited(limit), as_nobody) for limit in limits}
        for name, arguments in COMMANDS.items()
    }


def ranges(outcomes: dict[int, str]) -> list[tuple[str, str]]:
    """Merge limits with the same outcome."""
    found: list[list[Any]] = []
    for limit, what in outcomes.items():
        kind = what if what.startswith("status") else what.partition(":")[0]
        if found and found[-1][2] == kind:
            found[-1][1] = limit
        else:
            found.append([limit, limit, kind, what])
    return [(f"{first:,}" if first == last else f"{first:,} to {last:,}", what) for first, last, _, what in found]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=20_000, help="lowest limit of address space, in kB")
    parser.add_argument("--last", type=int, default=900_000, help="highest one")
    parser.add_argument("--step", type=int, default=20_000, help="step between them")
    parser.add_argument("--processes", type=int, default=16, help="highest limit of processes; 0 for none")
    parser.add_argument("--only", choices=[*COMMANDS], action="append")
    parser.add_argument("--out", type=Path, default=RESULTS / "scarcity.json")
    options = parser.parse_args()
    for name in set(COMMANDS) - set(options.only or COMMANDS):
        del COMMANDS[name]
    result: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as holder:
        folder = Path(holder)
        shutil.copy(ROOT / "examples" / "cat.jpg", folder / "c.jpg")
        folder.chmod(0o777)
        limits = list(range(options.first, options.last + 1, options.step))
        result["address_space_kb"] = sweep(limits, folder, resource.RLIMIT_AS, 1024, False)
        if options.processes and os.geteuid() == 0 and shutil.which("setpriv"):
            counts = list(range(1, options.processes + 1))
            result["processes"] = sweep(counts, folder, resource.RLIMIT_NPROC, 1, True)
    for what in ("address_space_kb", "processes"):
        for name, outcomes in result.get(what, {}).items():
            table(f"{what}, {name}", ("limit", "outcome"), ranges(outcomes))
    others = [
        f"{name} at {limit:,}: {said}"
        for what in ("address_space_kb", "processes")
        for name, outcomes in result.get(what, {}).items()
        for limit, said in outcomes.items()
        if name != "python alone" and not said.startswith(("works", "said"))
    ]
    print(f"\n{len(others)} ended otherwise")
    write_result(options.out, result)


if __name__ == "__main__":
    main()
