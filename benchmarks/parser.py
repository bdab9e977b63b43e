"""Measure the caption parsers: ``python benchmarks/parser.py CAPTIONS.txt[.gz] [--captions 20000]``.

Precision, recall and F1 on the gold set (``tests/language/GOLD.md``), and captions per second with one and with two
processes on random captions from the file, which has one caption per line. Writes ``benchmarks/results/parser.json``.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import platform
import random
import sys
import time
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import gold  # noqa: E402

from anytag.errors import MissingExtraError  # noqa: E402
from anytag.foundations.atomic_files import write_text  # noqa: E402
from anytag.language.parsing.parser import CaptionParser, load_parser  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "parser.json"


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def cpu_seconds() -> float:
    """Processor time of this process and its finished children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def speed(parser: CaptionParser, captions: list[str], workers: int) -> dict[str, int]:
    """Captions per second of wall-clock and of processor time.

    The second figure is the rate of one free core; on a busy machine only it is meaningful. With several processes it
    includes starting them.
    """
    list(parser.parse_many(captions[:500]))  # lazy tables
    wall, cpu = time.perf_counter(), cpu_seconds()
    count = sum(1 for _ in parser.parse_many(captions, workers=workers))
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    return {"per_second": round(count / wall), "per_cpu_second": round(count / cpu)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("captions", type=Path)
    arguments.add_argument("--captions", dest="count", type=int, default=20_000)
    options = arguments.parse_args()
    opener = gzip.open if options.captions.suffix == ".gz" else open
    with opener(options.captions, "rt", encoding="utf-8") as file:
        captions = [line.strip() for line in file]
    captions = random.Random(0).sample(captions, min(options.count, len(captions)))
    load = os.getloadavg()[0]
    record: dict[str, object] = {
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "load_before": round(load, 2)},
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
        "captions": len(captions),
        "parsers": {},
    }
    for name in ("light", "spacy"):
        try:
            parser = load_parser(name)
        except MissingExtraError as error:
            print(f"{name}: skipped ({error})")
            continue
        some = captions if name == "light" else captions[: len(captions) // 4]
        entry: dict[str, object] = {"speed": {f"{n}_process": speed(parser, some, n) for n in (1, 2)}}
        for split in gold.SPLITS:
            scores = gold.score(parser, split)
            entry[split] = {
                kind: {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(score).items()}
                for kind, score in scores.items()
            }
            for kind, score in scores.items():
                print(f"{name:6} {split:12} {kind:10} P {score.precision:.3f} R {score.recall:.3f} F1 {score.f1:.3f}")
        print(f"{name:6} {entry['speed']}")
        record["parsers"][name] = entry  # type: ignore[index]
    RESULTS.parent.mkdir(exist_ok=True)
    write_text(RESULTS, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
