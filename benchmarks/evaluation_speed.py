"""Measure the time of metrics at the size of OpenImages-common: random scores of 57,224 pictures by 214 classes.

First mean average precision alone, then all metrics of ``anytag evaluate``: two kinds of this mean, the best common
threshold and those of the classes, precision, recall and F1 at them, per class and per kind, and calibration. Aims: 2
and 10 seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from _common import RESULTS, machine, write_result

from anytag.evaluation.figures import fit_thresholds, tagging_figures
from anytag.evaluation.ranking import RankedScores

PICTURES, CLASSES = 57_224, 214

#: Share of pairs that are true, as in OpenImages-common.
POSITIVES = 67_866 / (PICTURES * CLASSES)


def measure(pictures: int, rounds: int) -> dict[str, Any]:
    """Median wall-clock and processor seconds over rounds."""
    rng = np.random.default_rng(0)
    scores = rng.random((pictures, CLASSES), np.float32)
    targets = rng.random((pictures, CLASSES)) < POSITIVES
    targets[np.arange(CLASSES) % pictures, np.arange(CLASSES)] = True
    names = [f"class {column}" for column in range(CLASSES)]
    kinds = {name: ("object", "scene")[column % 2] for column, name in enumerate(names)}

    def everything() -> None:
        thresholds = fit_thresholds(scores, targets, "test")
        tagging_figures(scores, targets, names, thresholds=thresholds, kinds=kinds)

    seconds: dict[str, dict[str, float]] = {}
    for what, run in (
        ("mean average precision", lambda: RankedScores(scores, targets).average_precisions()),
        ("all figures, a common threshold fitted", everything),
    ):
        taken = []
        for _ in range(rounds):
            clock, processor = time.perf_counter(), time.process_time()
            run()
            taken.append((time.perf_counter() - clock, time.process_time() - processor))
        clocks, processors = zip(*taken, strict=True)
        seconds[what] = {
            "clock": round(statistics.median(clocks), 2),
            "processor": round(statistics.median(processors), 2),
        }
    return {"machine": machine(), "pictures": pictures, "classes": CLASSES, "rounds": rounds, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="try the command quickly; the figures mean nothing")
    parser.add_argument("--out", type=Path, default=RESULTS / "evaluation_speed.json")
    options = parser.parse_args()
    result = measure(500 if options.tiny else PICTURES, options.rounds)
    for what, taken in result["seconds"].items():
        print(f"{what}: {taken['clock']:.2f} s by the clock, {taken['processor']:.2f} s of the processor")
    if not options.tiny:
        write_result(options.out, result)


if __name__ == "__main__":
    main()
