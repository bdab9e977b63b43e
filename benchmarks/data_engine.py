"""Measure the data engine: ``python benchmarks/data_engine.py --data DIR [--pictures 480] [--captions 80000] [--ray]``.

Captions parsed, and pictures generated and cleaned per second, with one process, with two, and with ``--ray`` on two
actors of a local Ray cluster. ``DIR`` contains ``coco20k/`` and ``captions/``. Wall-clock times include starting
processes and loading models; ``steady`` excludes them. The fastest of several rounds counts, because other programs can
only make it slower. Writes ``benchmarks/results/data_engine.json``.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import add_data_argument, add_model_arguments, machine, table, target, write_targets

from anytag.data_engine.clean_regions import RegionsStep
from anytag.data_engine.cleaning_config import CleaningConfig
from anytag.data_engine.executors import LocalExecutor, RayExecutor
from anytag.data_engine.generate import GenerateConfig, GenerateStep
from anytag.data_engine.inputs import CaptionLines
from anytag.data_engine.manifest import Manifest
from anytag.data_engine.models import ModelSpec
from anytag.data_engine.parse import NamesStep
from anytag.data_engine.pipeline import Engine
from anytag.data_engine.work import Executor, Step, run_step
from anytag.datasets.webdataset import open_shards

#: Number of parts; more than workers, so that no worker waits long at the end.
PARTS = 8


def cpu_seconds() -> float:
    """Processor time of this process and its finished children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def measure(step: Step, executor: Executor, workers: int) -> dict[str, Any]:
    """Rates of a step in an empty work folder."""
    before = cpu_seconds()
    report = run_step(step, executor)
    used = cpu_seconds() - before
    done = report.counts.get("captions") or report.counts["pictures_in"]
    return {
        "count": done,
        "wall_per_second": done / report.wall_seconds,
        "steady_per_second": done * workers / report.work_seconds,
        # Actors are not children of this process.
        "cpu_ms_each": None if isinstance(executor, RayExecutor) else 1000 * used / done,
    }


def draw_captions(folder: Path, out: Path, count: int) -> Path:
    """Sample captions from all files, with one caption per line."""
    lines: list[str] = []
    for path in sorted(folder.glob("*.txt.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines += file
    out.write_text("".join(random.Random(0).sample(lines, min(count, len(lines)))), encoding="utf-8")
    return out


def draw_pictures(shard: Path, out: Path, count: int) -> list[Path]:
    """Split the first pictures of a shard into small shards."""
    names: dict[str, list[tarfile.TarInfo]] = {}
    with tarfile.open(shard) as archive:
        for member in archive:
            names.setdefault(member.name.partition(".")[0], []).append(member)
            if len(names) > count:
                names.popitem()
                break
        groups = list(names.values())
        size = -(-len(groups) // PARTS)
        paths = []
        for number in range(0, len(groups), size):
            paths.append(out / f"part-{number:06}.tar")
            with tarfile.open(paths[-1], "w") as part:
                for member in (member for group in groups[number : number + size] for member in group):
                    part.addfile(member, archive.extractfile(member))
    return paths


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    add_data_argument(arguments)
    add_model_arguments(arguments, "data_engine.json")
    arguments.add_argument("--pictures", type=int, default=480)
    arguments.add_argument("--captions", type=int, default=80_000)
    arguments.add_argument("--ray", action="store_true", help="measure two actors of a local Ray cluster, too")
    arguments.add_argument("--rounds", type=int, default=1)
    options = arguments.parse_args()
    # Ray gives its workers the lowest priority, which distorts the comparison on a busy machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    record: dict[str, Any] = {"machine": machine(), "pictures": options.pictures, "captions": options.captions}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        text = draw_captions(options.data / "captions", work / "captions.txt", options.captions)
        lines = CaptionLines([text], lines_per_part=-(-options.captions // PARTS))
        pictures = open_shards(draw_pictures(options.data / "coco20k" / "coco20k-000019.tar", work, options.pictures))
        # One thread per process, so that one process does not already use both cores.
        model = ModelSpec(str(options.model) if options.model else None, threads=1)
        parsed = Engine(work / "engine")
        parsed.parse(pictures, model.directory().path / "vocabulary.json")
        parsed.generate(pictures, model, GenerateConfig(captions="none"))
        manifest = Manifest.load(work / "engine" / "generated")
        steps: dict[str, Callable[[Path], Step]] = {
            "parse": lambda folder: NamesStep(folder, lines),
            "generate tags": lambda folder: GenerateStep(
                folder, manifest, pictures, model, GenerateConfig(captions="none")
            ),
            "generate tags and captions": lambda folder: GenerateStep(
                folder, manifest, pictures, model, GenerateConfig()
            ),
            "clean": lambda folder: RegionsStep(folder, manifest, pictures, model, CleaningConfig()),
        }
        executors: dict[str, tuple[Executor, int]] = {
            "one process": (LocalExecutor(1), 1),
            "two processes": (LocalExecutor(2), 2),
        }
        if options.ray:
            executors["two Ray actors"] = (RayExecutor(2), 2)
        rates: dict[str, dict[str, Any]] = {}
        for step, make in steps.items():
            for number in range(options.rounds):
                for name, (executor, workers) in executors.items():
                    rate = measure(make(work / f"{step} {name} {number}"), executor, workers)
                    best = rates.setdefault(step, {}).setdefault(name, rate)
                    if rate["wall_per_second"] > best["wall_per_second"]:
                        rates[step][name] = rate
        record["rates"] = rates
    rows = [
        [step, name, rate["wall_per_second"], rate["steady_per_second"], rate["cpu_ms_each"]]
        for step, by_name in rates.items()
        for name, rate in by_name.items()
    ]
    table("Captions or pictures", ["step", "on", "a second", "steady", "processor ms each"], rows)
    last = list(executors)[-1]
    targets = [
        target(
            f"{step}: {last} against one process",
            by_name[last]["steady_per_second"] / by_name["one process"]["steady_per_second"],
            1.8,
            at_least=True,
            unit="x",
        )
        for step, by_name in rates.items()
    ]
    write_targets(options.out, targets, record)


if __name__ == "__main__":
    main()
