"""Measure memory of training over a million rows: ``python benchmarks/stream_memory.py [--kind jsonl|parquet]``.

A whole run (`anytag.training.run`: stream, decoding threads, batches, loop, checkpoints, log) of a tiny model, on
synthetic rows that share 64 pictures of 8 px; some rows have a picture that does not exist. The memory of the process
is recorded at 10, 50 and 100 % of the epoch; it must not grow with the number of rows read.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import RESULTS, machine, target, write_targets
from data_loading import resident_mb
from PIL import Image

from anytag.model.config import ImageEncoderConfig, LabelQueryConfig, ModelConfig, RecognitionConfig, SwinConfig
from anytag.training.families.augmentation import PLAIN
from anytag.training.recipes.config import (
    RamPlusConfig,
    StreamConfig,
    TrainingConfig,
    TrainingStage,
    VocabularyConfig,
)
from anytag.training.run import train

#: Shares of the epoch at which memory is recorded.
PLACES = (0.1, 0.5, 1.0)
#: Growth from the first to the last of these, in MB, that counts as flat.
FLAT_MB = 20
#: One row in this many has no picture.
BAD = 10_000
TAGS = tuple(f"tag {number}" for number in range(40))


def write_data(folder: Path, rows: int, kind: str) -> Path:
    """Make pictures, a tag list, and the table of rows."""
    draw = random.Random(0)
    (folder / "pictures").mkdir()
    for number in range(64):
        color = tuple(draw.randrange(256) for _ in range(3))
        Image.new("RGB", (8, 8), color).save(folder / "pictures" / f"{number}.png")
    (folder / "tags.txt").write_text("".join(f"{name}\tobject\n" for name in TAGS))

    def row(number: int) -> dict[str, Any]:
        name = "missing" if number % BAD == BAD - 1 else str(number % 64)
        return {"image": f"pictures/{name}.png", "tags": draw.sample(TAGS, 3), "id": f"row {number}"}

    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        with path.open("w") as handle:
            handle.writelines(json.dumps(row(number)) + "\n" for number in range(rows))
        return path
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("image", pa.string()), ("tags", pa.list_(pa.string())), ("id", pa.string())]
    with pq.ParquetWriter(path, pa.schema(fields)) as writer:
        for start in range(0, rows, 10_000):
            group = [row(number) for number in range(start, min(start + 10_000, rows))]
            writer.write_table(pa.Table.from_pylist(group, schema=writer.schema))
    return path


def recipe(path: Path, batch_size: int, rows: int) -> TrainingConfig:
    """One epoch of tagging with a one-block Swin."""
    steps = max(1, rows // batch_size)
    encoder = ImageEncoderConfig(
        name="swin",
        swin=SwinConfig(width=8, depths=(1,), heads=(1,), window=2, drop_path=0.0),
        projection="none",
        resolution=8,
        width=8,
        tokens=5,
        classes=0,
    )
    model = ModelConfig(
        family="tag2text",
        width=8,
        feature_width=8,
        image_encoder=encoder,
        recognition=RecognitionConfig(layers=1, heads=1, inner=8, dropout=0.0, score="per_tag"),
        labels=LabelQueryConfig(kind="learned", width=8, offsets=False),
        captioner=None,
    )
    return TrainingConfig(
        name="rows",
        model=model,
        sources=(path.name,),
        vocabulary=VocabularyConfig(tags="tags.txt"),
        objective=RamPlusConfig(alignment=0.0, distillation=0.0),
        augmentation=PLAIN,
        tags="given",
        parser="none",
        stream=StreamConfig(bad_share=0.01, window=4096),
        stages=(TrainingStage(name="rows", epochs=1, learning_rate=1e-3, encoder_learning_rate=1e-3),),
        batch_size=batch_size,
        precision="float32",
        ema_decay=0.0,
        log_every=max(1, steps // 50),
        save_every=max(1, steps // 10),
        validate_every=10 * steps,
    )


def measure(rows: int, kind: str, batch_size: int) -> dict[str, Any]:
    """Train, and record memory at every log line."""
    seen: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        path = write_data(folder, rows, kind)

        def report(line: str) -> None:
            if place := re.match(r"rows (\d+)/(\d+)", line):
                seen.append((int(place[1]) / int(place[2]), resident_mb()))

        started, cpu = time.perf_counter(), time.process_time()
        train(recipe(path, batch_size, rows), folder, folder / "run", report)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        bad = sum(1 for _ in (folder / "run" / "bad-samples.jsonl").open())
        size = path.stat().st_size / 1e6
    return {
        "rows": rows,
        "kind": kind,
        "file_mb": size,
        "bad_rows_skipped": bad,
        "batch_size": batch_size,
        "memory_mb": {f"{place:.0%}": next(mb for at, mb in seen if at >= place) for place in PLACES},
        "memory_mb_greatest": max(mb for _, mb in seen),
        "rows_per_second": rows / seconds,
        "rows_per_cpu_second": rows / cpu,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--kind", choices=("jsonl", "parquet"), default="jsonl")
    arguments.add_argument("--batch-size", type=int, default=2048)
    arguments.add_argument("--out", type=Path, default=RESULTS / "stream_memory.json", help="where the result goes")
    options = arguments.parse_args()
    record: dict[str, Any] = {"machine": machine()}
    record |= measure(options.rows, options.kind, options.batch_size)
    memory = record["memory_mb"]
    grown = memory["100%"] - memory["10%"]
    targets = [target(f"memory grown from 10 to 100 % of {options.rows:,} rows", grown, FLAT_MB, False, "MB")]
    print(json.dumps(record, indent=1))
    write_targets(options.out, targets, record)


if __name__ == "__main__":
    main()
