"""Try problems that users of such tools run into with this code and with earlier code: prints a Markdown table.

    git worktree add ../before 12ae9f5
    python benchmarks/user_trials.py --before ../before/src

Every trial runs in a new folder. The table shows its output, or else the last line of its messages, then its status if
not 0, and the files that it changed or added. A traceback is shown as its error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Time limit of a trial in seconds.
_PATIENCE = 30

#: Maximum length of a cell.
_WIDTH = 150

#: Count the sockets opened by a command and its child processes.
_SOCKETS = """
import os, subprocess, sys, time
from pathlib import Path
seen = set()
child = subprocess.Popen(["bash", "-c", '"$@"', "", *sys.argv[1:]], stdout=subprocess.DEVNULL)
while child.poll() is None:
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(place.name)) == os.getpgid(0) and int(place.name) != os.getpid():
                links = [os.readlink(entry) for entry in (place / "fd").iterdir()]
                seen.update(link for link in links if link.startswith("socket:"))
        except (OSError, ValueError):
            pass
    time.sleep(0.002)
print(len(seen), "sockets;", "files in the home folder:", end=" ", flush=True)
sys.exit(child.returncode)
"""

#: Let a command receive Ctrl-C, although it is started in the background.
_SHELLED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Trial:
    """One thing that a user does.

    Attributes:
        subject: Subject of the trial.
        what: Description.
        script: Bash script or, if ``is_python``, Python code.
        is_python: Whether the script is Python.
    """

    subject: str
    what: str
    script: str
    is_python: bool


def read_trials(path: Path) -> Iterator[Trial]:
    """Read the trials of a file: subjects after ``#``, descriptions, and below them indented scripts."""
    text = path.read_text(encoding="utf-8")
    subject = ""
    for part in re.findall(r"^# .+$|^\S.*\n(?:   .+\n)+", text[text.index("\n# ") :], re.MULTILINE):
        if part.startswith("# "):
            subject = part[2:]
            continue
        what, *lines = part.rstrip("\n").split("\n")
        yield Trial(subject, what, "\n".join(line[3:] for line in lines), not lines[0].startswith("    "))


def run(trial: Trial, tree: Path) -> str:
    """Run a trial with one tree and return its outcome as a table cell."""
    with tempfile.TemporaryDirectory() as holder:
        tools, folder = Path(holder) / "tools", Path(holder) / "here"
        tools.mkdir()
        folder.mkdir()
        shutil.copy(ROOT / "examples" / "cat.jpg", folder / "c.jpg")
        _install(tools, tree)
        (tools / "trial.py").write_text(trial.script, encoding="utf-8")
        script = f"python {tools / 'trial.py'}" if trial.is_python else trial.script
        before = _files(folder)
        settings = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(tree), "LC_ALL": "C.UTF-8"}
        settings |= {"XDG_CACHE_HOME": str(tools / "cache"), "COLUMNS": "100", "NO_COLOR": "1"}
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=folder,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, error = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            return f"hangs (stopped after {_PATIENCE} s)"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        texts = [stream.decode(errors="backslashreplace") for stream in (out, error)]
        outcome = _outcome(texts[0], texts[1], process.returncode)
        for place, name in ((f"{folder}/", ""), (str(folder), "."), (str(tree), "src"), (sys.prefix, "venv")):
            outcome = outcome.replace(place, name)
        return _escaped(outcome, _changes(before, _files(folder), trial.script))


def _install(tools: Path, tree: Path) -> None:
    """The commands of a tree."""
    module = "-m anytag" if (tree / "anytag" / "__main__.py").exists() else "-c 'from anytag.cli import main; main()'"
    commands = {
        "anytag": f'exec {sys.executable} {module} "$@"',
        "python": f'exec {sys.executable} "$@"',
        "sockets": f'exec {sys.executable} {tools / "sockets.py"} "$@"',
        "shelled": f'exec {sys.executable} {tools / "shelled.py"} "$@"',
    }
    (tools / "sockets.py").write_text(_SOCKETS, encoding="utf-8")
    (tools / "shelled.py").write_text(_SHELLED, encoding="utf-8")
    for name, line in commands.items():
        (tools / name).write_text(f"#!/bin/bash\n{line}\n", encoding="utf-8")
        (tools / name).chmod(0o755)


def _outcome(out: str, error: str, status: int) -> str:
    if "Traceback" in error:
        last = [line for line in error.splitlines() if re.match(r"[\w.]+(Error|Exception|Interrupt|Panic)", line)]
        shown = last[-1] if last else "an error"
        # An error that the package raises on purpose comes as a traceback only where the trial is a program.
        return f"traceback: {shown}" if not shown.startswith("anytag.errors.") else shown.removeprefix("anytag.errors.")
    unboxed = [re.sub(r"[─-╿]", "", line).strip() for line in (out.strip() or error.strip()).splitlines()]
    lines = [re.sub(r"\s+", " ", line) for line in unboxed if line]
    shown = " / ".join(lines[:3] if out.strip() else lines[-1:])
    return f"{shown}; status {status}" if status else shown


def _files(folder: Path) -> dict[str, int]:
    """All regular files in a folder."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in (".lock",) and "progress.sqlite" not in path.name:
            found[os.fsencode(path.relative_to(folder)).decode(errors="backslashreplace")] = hash(path.read_bytes())
    return found


def _changes(before: dict[str, int], after: dict[str, int], script: str) -> str:
    """Files that were made or changed but are not named in the script."""
    added = sorted(after.keys() - before.keys())
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    parts = [f"**destroys {name}**" for name in changed]
    made = [_short(name) for name in added if "/" not in name and name not in script]
    return "; ".join(parts + ([f"new here: {', '.join(made[:3])}"] if made else []))


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:29]}…"


def _escaped(outcome: str, changes: str) -> str:
    outcome = outcome if len(outcome) <= _WIDTH else f"{outcome[:_WIDTH]}…"
    cell = "; ".join(part for part in (outcome, changes) if part) or "nothing, status 0"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cell).replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Run all trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="the folder src of the earlier code")
    parser.add_argument("--only", default="", help="only trials whose subject or description contains this")
    options = parser.parse_args()
    trees = {"before": options.before, "now": ROOT / "src"} if options.before else {"now": ROOT / "src"}
    print(f"| about | tried | {' | '.join(trees)} |\n|{'---|' * (2 + len(trees))}")
    for trial in read_trials(Path(__file__).with_suffix(".txt")):
        if options.only in f"{trial.subject}: {trial.what}":
            cells = [run(trial, tree.resolve()) for tree in trees.values()]
            what = trial.what.replace("|", "\\|").replace("<", "&lt;")
            print(f"| {trial.subject} | {what} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
