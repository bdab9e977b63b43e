"""Measure the savings of cached tokens in the first stage of fine-tuning: ``python benchmarks/cached_tokens.py``.

The first stage of ``recipes/finetune_tags.py:network`` trains the tag head on tokens of the frozen image encoder. In
the recipe, two views of each picture are encoded once and cached; without the cache, every epoch encodes a new view.
Both are whole commands on the same JPEGs of 640 x 480, one after the other.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from _common import RESULTS, ROOT, machine, table, write_result
from _pictures import make_folder
from _processes import command, run

TAGS = tuple(f"tag {number}" for number in range(40))

#: Settings of the stage by its input.
WAYS = {"with cached tokens": (), "without": ("stages.0.cached=nothing", "views=1")}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pictures", type=int, default=200)
    arguments.add_argument("--epochs", type=int, default=10, help="the recipe's own: 10")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--out", type=Path, default=RESULTS / "cached_tokens.json")
    options = arguments.parse_args()
    record: dict[str, Any] = {"machine": machine()} | {
        name: getattr(options, name) for name in ("pictures", "epochs", "threads")
    }
    with tempfile.TemporaryDirectory() as made:
        data = Path(made) / "pictures"
        data.mkdir()
        draw = random.Random(0)
        for path in make_folder(data, options.pictures):
            path.with_suffix(".json").write_text(json.dumps({"tags": draw.sample(TAGS, 3)}))
        for way, changes in WAYS.items():
            record[way] = measure(data, Path(made) / way, options, changes)
    rows = [[way, *(record[way][name] for name in ("cpu_seconds", "seconds"))] for way in WAYS]
    table("The first stage", ["", "processor seconds", "seconds"], rows)
    cached, plain = (record[way] for way in WAYS)
    record["share"] = {name: cached[name] / plain[name] for name in cached}
    print(f"\nprocessor time with the cache / without: {record['share']['cpu_seconds']:.2f}")
    write_result(options.out, record)


def measure(data: Path, folder: Path, options: argparse.Namespace, changes: tuple[str, ...]) -> dict[str, float]:
    """Run a whole command."""
    recipe = f"{ROOT / 'recipes' / 'finetune_tags.py'}:network"
    # Keep the second stage as short as possible: one step.
    steps = options.pictures // 16
    wanted = (f"stages.0.epochs={options.epochs}", f"stages.1.epochs={1 / steps}", "log_every=1", *changes)
    settings = [word for setting in wanted for word in ("--set", setting)]
    named = ("--data", str(data), "--run", str(folder), "--threads", str(options.threads))
    used = run(command("train", recipe, *named, *settings))
    return {"cpu_seconds": used.cpu_seconds, "seconds": used.seconds}


if __name__ == "__main__":
    main()
