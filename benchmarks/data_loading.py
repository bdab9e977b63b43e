"""Measure loading of training data: ``python benchmarks/data_loading.py [--out RESULT.json]``.

Pictures per second that a stream of samples decodes and resizes, by number of threads, from a shard and from a folder,
compared with the rate of training: pictures per second of the lite image encoder, forward and backward. Also the memory
of reading a million synthetic rows of CSV and JSON lines, which has to stay flat.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from _common import machine, print_targets, table, target, write_result
from _pictures import make_folder

from anytag.datasets import Sample, SampleSource, SampleStream, open_source
from anytag.pictures import read_picture, to_pixels

#: Target: loading should be this many times as fast as training.
TIMES_TRAINING = 10
#: Growth of memory during an epoch that counts as flat.
FLAT_MB = 20


def to_square(resolution: int) -> Any:
    """The deterministic part of training's preprocessing: decode, turn upright, squash."""

    def load(sample: Sample, epoch: int) -> Any:
        return to_pixels(read_picture(sample.picture, label=sample.place), resolution)

    return load


def loading_speed(source: SampleSource, threads: int, resolution: int, seconds: float) -> dict[str, Any]:
    """Pictures per second of wall-clock and of processor time; use the latter on a busy machine."""
    stream = iter(SampleStream([source], threads=threads, load=to_square(resolution)))
    list(islice(stream, 32))
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        count += len(list(islice(stream, 16)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    stream.close()
    return {"threads": threads, "per_second": count / wall, "per_cpu_second": count / cpu}


def training_speed(resolution: int, seconds: float, batch: int = 16) -> dict[str, Any] | None:
    """Pictures per second for forward and backward of the lite image encoder, a part of a whole step.

    ``None`` without PyTorch.
    """
    try:
        import torch
    except ImportError:
        return None
    from anytag.nn.efficientnet_lite import EfficientNetLite
    from anytag.training.engine.autocast import autocast

    encoder = EfficientNetLite("efficientnet_lite2").train()
    pixels = torch.rand(batch, 3, resolution, resolution).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with autocast("cpu"):
            encoder(pixels).float().mean().backward()
        encoder.zero_grad()

    step()
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        step()
        count += batch
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"threads": torch.get_num_threads(), "per_second": count / wall, "per_cpu_second": count / cpu}


def write_shard(paths: list[Path], shard: Path) -> Path:
    """Make a shard of pictures with captions."""
    with tarfile.open(shard, "w") as archive:
        for path in paths:
            archive.add(path, path.name)
            (path.with_suffix(".txt")).write_text("A caption of some words.\n")
            archive.add(path.with_suffix(".txt"), path.with_suffix(".txt").name)
    return shard


def write_rows(path: Path, rows: int) -> Path:
    """Make a table or JSON lines of synthetic rows, whose pictures do not exist."""
    with path.open("w") as handle:
        if path.suffix == ".csv":
            handle.write("image,caption,tags\n")
            handle.writelines(
                f'pictures/{number:09d}.jpg,"A caption, number {number}, of some ten words.",dog|grass|run\n'
                for number in range(rows)
            )
        else:
            handle.writelines(
                f'{{"image": "pictures/{number:09d}.jpg", "captions": ["A caption, number {number}, of some words."], '
                f'"tags": ["dog", "grass", "run"]}}\n'
                for number in range(rows)
            )
    return path


def resident_mb() -> float:
    """Current memory of this process (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS"))


def run_over_rows(path: Path) -> dict[str, Any]:
    """Read all rows once in shuffled order and record the memory; run this in a separate process."""
    # Opening the first table imports modules.
    small = write_rows(path.with_name(f"small{path.suffix}"), 100)
    list(SampleStream([open_source(small)], epochs=1, load=lambda sample, epoch: sample.id))
    before = resident_mb()
    started = time.process_time()
    source = open_source(path)
    opened = time.process_time() - started
    stream = SampleStream([source], epochs=1, load=lambda sample, epoch: len(sample.captions), threads=2)
    memory, seen, started = [], 0, time.process_time()
    for _ in stream:
        seen += 1
        if seen % max(1, stream.count // 10) == 0 or seen == 1000:
            memory.append(resident_mb() - before)
    return {
        "rows": seen,
        "file_mb": path.stat().st_size / 1e6,
        "index_cpu_seconds": opened,
        "rows_per_cpu_second": seen / (time.process_time() - started),
        "memory_mb_first": memory[0],
        "memory_mb_last": memory[-1],
        "memory_mb_greatest": max(memory),
    }


def memory_of_rows(rows: int, folder: Path) -> dict[str, Any]:
    """The same for CSV and JSON lines, each in a new process."""
    found = {}
    for name in ("rows.csv", "rows.jsonl"):
        path = write_rows(folder / name, rows)
        command = [sys.executable, __file__, "--measure-rows", str(path)]
        finished = subprocess.run(command, check=True, capture_output=True, text=True)
        found[path.suffix[1:]] = json.loads(finished.stdout)
        path.unlink()
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pictures", type=int, default=400, help="photographs of 640 x 480 to load")
    arguments.add_argument("--rows", type=int, default=1_000_000, help="synthetic rows; 0: do not measure memory")
    arguments.add_argument("--seconds", type=float, default=10.0, help="for each measurement of speed")
    arguments.add_argument("--resolution", type=int, default=260, help="side of the encoder's square")
    arguments.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    arguments.add_argument("--out", type=Path, help="write the result here as JSON (default: nowhere)")
    arguments.add_argument("--note", help="a note for the result, for instance that the machine was busy")
    arguments.add_argument("--measure-rows", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.measure_rows:
        print(json.dumps(run_over_rows(options.measure_rows)))
        return
    record: dict[str, Any] = {"machine": machine(), "pictures": options.pictures, "resolution": options.resolution}
    if options.note:
        record["note"] = options.note
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "pictures").mkdir()
        paths = make_folder(folder / "pictures", options.pictures)
        sources = {
            "shard": open_source(write_shard(paths, folder / "pictures.tar")),
            "folder": open_source(folder / "pictures"),
        }
        record["loading"] = {
            name: [loading_speed(source, threads, options.resolution, options.seconds) for threads in options.threads]
            for name, source in sources.items()
        }
        record["training"] = training_speed(options.resolution, options.seconds)
        record["rows"] = memory_of_rows(options.rows, folder) if options.rows else None
    report(record)
    if options.out:
        write_result(options.out, record)


def report(record: dict[str, Any]) -> None:
    """Print tables, and compare figures with their targets."""
    rows = [
        [name, speed["threads"], speed["per_second"], speed["per_cpu_second"]]
        for name, speeds in {**record["loading"], "training": [record["training"] or {}]}.items()
        for speed in speeds
        if speed
    ]
    table("Pictures", ["", "threads", "a second", "a processor second"], rows)
    best = max(speed["per_cpu_second"] for speed in record["loading"]["shard"])
    eaten = record["training"]["per_cpu_second"] if record["training"] else None
    ratio = best / eaten if eaten else None
    targets = [target("loading against training, by processor time", ratio, TIMES_TRAINING, True, "times")]
    for kind, found in (record["rows"] or {}).items():
        grown = found["memory_mb_greatest"] - found["memory_mb_first"]
        targets.append(target(f"memory grown over {found['rows']:,} rows of {kind}", grown, FLAT_MB, False, "MB"))
    if record["rows"]:
        header = ["", *next(iter(record["rows"].values()))]
        table("Rows", header, [[kind, *found.values()] for kind, found in record["rows"].items()])
    record["targets"] = targets
    print_targets(targets)


if __name__ == "__main__":
    main()
