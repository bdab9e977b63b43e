"""Kill a batch or an index at random moments: the result must be that of an uninterrupted run.

With a toy model, a run takes a fraction of a second and is nearly all writing, which is what a kill can harm. In every
round, the process is killed (SIGKILL) at a random moment and restarted until it ends by itself. Then photos, sidecars
and tables, or the whole contents of the index, are compared with those of an uninterrupted run.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _common import RESULTS, ROOT, machine, table, target, write_targets

import anytag
from anytag.library.index import Index

sys.path.insert(0, str(ROOT / "tests" / "support"))
import toy_batch
from fixtures_toy import plain, write_toy_model

#: Files of a batch that do not depend on how often it was restarted.
TABLES = ("tags.jsonl", "tags.csv", "failures.jsonl")

#: Target number of kills for each command.
WANTED = 200

#: Pictures in the folder.
PICTURES = 40


def make_photos(folder: Path) -> None:
    """Make pictures of a few colors, some files written by people and one that is not a picture."""
    folder.mkdir()
    for number in range(PICTURES):
        plain(("red", "lime", "blue", "white")[number % 4]).save(folder / f"{number:02}.png")
    (folder / "03.txt").write_text("holiday")
    (folder / "bad.jpg").write_text("no picture")


def run_batch(model: Path, photos: Path, out: Path) -> None:
    """Start or continue a batch with sidecars and tables."""
    toy_batch.run(model, photos, out)


def result_of_batch(photos: Path, out: Path) -> dict[str, bytes]:
    """Everything it wrote: every file among the photos, and the tables."""
    found = {f"photos/{path.name}": path.read_bytes() for path in photos.iterdir()}
    return found | {name: (out / name).read_bytes() for name in TABLES}


def run_index(model: Path, photos: Path, out: Path) -> None:
    """Start or continue an update of an index."""
    out.mkdir(exist_ok=True)
    library = anytag.Library(out / "library.sqlite", toy_batch.open_toy(model))
    library.update([photos])


def result_of_index(photos: Path, out: Path) -> dict[str, Any]:
    """Contents of the index: the record, vector and search words of every picture; row numbers may differ."""
    index = Index(out / "library.sqlite", read_only=True)
    try:
        vectors = index.embeddings.read("picture")
        numbers = dict(index.rows("SELECT key, id FROM entries"))
        found: dict[str, Any] = {"failures": [failure.to_json() for failure in index.failures()]}
        for record in index.records():
            number = numbers[os.fsencode(record.path)]
            rows = index.rows("SELECT tag, score FROM found WHERE entry = ? ORDER BY tag", (number,))
            found[record.path] = (record.to_json(), np.array(vectors[number]).tobytes(), rows)
        for tag in {tag for (tag,) in index.rows("SELECT DISTINCT tag FROM found")}:
            matched = index.posting(tag)
            names = index.paths(matched.entries.tolist())
            scored = zip(matched.entries, matched.scores, strict=True)
            found[f"tag {tag}"] = sorted((names[int(entry)], float(score)) for entry, score in scored)
        return found
    finally:
        index.close()


#: Killed commands: how to run them, and how to read their results.
WORK: dict[str, tuple[Callable[[Path, Path, Path], None], Callable[[Path, Path], dict[str, Any]]]] = {
    "batch": (run_batch, result_of_batch),
    "index": (run_index, result_of_index),
}


def start(work: Callable[[], None]) -> int:
    """Start the work in a separate process and return its id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 1)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(process: int) -> int:
    """Wait for a process; return its exit code, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def measure(name: str, folder: Path, kills: int, seconds: float, seed: int) -> dict[str, Any]:
    """Run rounds of kills until there are enough of them or the time is up."""
    run, result_of = WORK[name]
    model, original, photos, out = (folder / part for part in ("model", "original", "photos", "out"))

    def begin() -> None:
        for old in (photos, out):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(original, photos)

    length = 0.0
    for _ in range(2):  # The first one also fills caches.
        begin()
        began = time.monotonic()
        if code := wait(start(lambda: run(model, photos, out))):
            raise SystemExit(f"the uninterrupted {name} ended with {code}")
        length = time.monotonic() - began
    expected = result_of(photos, out)
    chance, end = random.Random(seed), time.monotonic() + seconds
    done: dict[str, Any] = {"kills": 0, "rounds": 0, "equal": 0, "failed_starts": 0, "different": []}
    while done["kills"] < kills and time.monotonic() < end:
        begin()
        while True:
            process = start(lambda: run(model, photos, out))
            time.sleep(chance.uniform(0, length))
            os.kill(process, signal.SIGKILL)
            code = wait(process)
            if code != -signal.SIGKILL:
                break
            done["kills"] += 1
        done["failed_starts"] += code != 0
        found = {} if code else result_of(photos, out)
        done["rounds"] += 1
        wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        done["equal"] += not wrong and code == 0
        done["different"] += wrong[:5]
    return done | {"uninterrupted_seconds": length, "compared": len(expected)}


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--kills", type=int, default=1000, help="maximum number of kills per command (default: %(default)s)"
    )
    arguments.add_argument(
        "--seconds", type=float, default=80, help="maximum seconds per command (default: %(default)s)"
    )
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path, default=RESULTS / "kills.json")
    given = arguments.parse_args()
    os.environ["SOURCE_DATE_EPOCH"] = "1767323045"
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_toy_model(Path(folder) / "model")
        make_photos(Path(folder) / "original")
        for name in WORK:
            found[name] = measure(name, Path(folder), given.kills, given.seconds, given.seed)
    rows = [
        [name, one["kills"], one["rounds"], one["equal"], one["uninterrupted_seconds"]] for name, one in found.items()
    ]
    table("killed at random moments", ["", "kills", "rounds", "equal at the end", "seconds uninterrupted"], rows)
    targets = []
    for name, one in found.items():
        targets.append(target(f"kills of {name}", one["kills"], min(given.kills, WANTED), True))
        targets.append(target(f"rounds of {name} that end alike", one["equal"], one["rounds"], True))
    write_targets(given.out, targets, {"machine": machine(), "seed": given.seed, **found})


if __name__ == "__main__":
    main()
