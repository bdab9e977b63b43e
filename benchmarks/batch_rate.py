"""Compare a long batch with the model alone: ``python benchmarks/batch_rate.py [--pictures 10000]``.

Runs ``anytag batch`` with JSON lines on a folder of 640 x 480 JPEGs (several hundred different ones, each under many
names). After every tenth of the batch, it measures the model alone on decoded pictures in memory with the same threads,
because the machine's speed may change. Memory should not grow after the 1,000th picture. Writes
``benchmarks/results/batch_rate.json``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _common import add_model_arguments, machine, table, target, write_targets
from _pictures import make_folder

import anytag
from anytag.inference.recognizer import Recognizer
from anytag.library.run import BatchRun
from anytag.pictures import find_pictures
from anytag.writers.records import TagView

#: Parts of the batch, between which the model runs alone.
PARTS = 10


def make_library(folder: Path, count: int, different: int, seed: int) -> None:
    """Pictures, each under several names; each name counts as a file of its own."""
    originals = folder / "originals"
    originals.mkdir(parents=True)
    paths = make_folder(originals, min(different, count), seed=seed)
    for number in range(count):
        part = folder / "photos" / f"{number // 1000:02}"
        part.mkdir(parents=True, exist_ok=True)
        os.link(paths[number % len(paths)], part / f"{number:05}.jpg")


def megabytes() -> float:
    """Current memory of this process in 10^6 bytes."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Alone:
    """The model alone, without reading and writing."""

    def __init__(self, recognizer: Recognizer, paths: list[Path]):
        preprocessing = recognizer.directory.config.image_encoder.preprocessing
        pixels = [preprocessing.pixels(preprocessing.read(path)) for path in paths]
        size = recognizer.batch_size
        self.batches = [np.stack(pixels[start : start + size]) for start in range(0, len(pixels), size)]
        self.recognizer, self.question = recognizer, recognizer.questions.tags()

    def rate(self) -> float:
        """Current pictures per second."""
        begun = time.perf_counter()
        for batch in self.batches:
            self.question(self.recognizer.backend.encode(batch), ["a picture"] * len(batch))
        return sum(map(len, self.batches)) / (time.perf_counter() - begun)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(arguments, "batch_rate.json")
    arguments.add_argument("--pictures", type=int, default=10_000)
    arguments.add_argument("--different", type=int, default=400, help="number of different pictures")
    arguments.add_argument("--threads", type=int, help="threads of the runtime (default: all processors)")
    arguments.add_argument("--thumbnails", action="store_true", help="store thumbnails, too")
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    record: dict[str, Any] = {"machine": machine(), "pictures": options.pictures, "threads": options.threads}
    recognizer = anytag.load(options.model, threads=options.threads)
    memory: dict[int, float] = {}
    alone, batch = [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_library(folder, options.pictures, options.different, options.seed)
        model = Alone(recognizer, sorted((folder / "originals").iterdir())[:64])
        model.rate()
        work = BatchRun(recognizer, {}, False, None, TagView(recognizer.vocabulary), (), ["jsonl"], folder / "out")
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            if done % max(1, options.pictures // PARTS) == 0:
                memory[done] = megabytes()

        with work.open() as known:
            begun = time.perf_counter()
            work.scan(known, find_pictures([folder / "photos"]), [str(folder / "photos")])
            scanned = time.perf_counter() - begun
            for _ in range(PARTS):
                alone.append(model.rate())
                before, begun = done, time.perf_counter()
                work.recognize(known, (), -(-options.pictures // PARTS), advance, options.thumbnails)
                batch.append((done - before) / (time.perf_counter() - begun))
                print(f"{done:,} pictures, {batch[-1]:.1f} per second; the model alone {alone[-1]:.1f}", flush=True)
            alone.append(model.rate())
            begun = time.perf_counter()
            work.write(known)
            written = time.perf_counter() - begun
        size = (folder / "out" / "progress.sqlite").stat().st_size
    # Each part against the model alone before and after it.
    shares = [rate / ((one + other) / 2) for rate, one, other in zip(batch, alone, alone[1:], strict=False)]
    whole = options.pictures / (scanned + written + sum(options.pictures / PARTS / rate for rate in batch))
    first, last = memory[min(memory)], memory[max(memory)]
    table("memory", ["pictures", "MB"], [[str(number), value] for number, value in memory.items()])
    record |= {
        "batch_per_second": whole,
        "model_alone_per_second": statistics.median(alone),
        "shares": shares,
        "scan_seconds": scanned,
        "write_seconds": written,
        "memory_mb": {str(number): value for number, value in memory.items()},
        "progress_bytes_a_picture": size / options.pictures,
    }
    targets = [
        target("batch against the model alone", statistics.median(shares), 0.9, at_least=True),
        target("growth of memory from the first tenth to the end", last / first, 1.05, at_least=False),
    ]
    write_targets(options.out, targets, record)


if __name__ == "__main__":
    main()
