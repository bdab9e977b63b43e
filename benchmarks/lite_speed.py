"""Measure the shipped model's speed, memory and size: ``python benchmarks/lite_speed.py [--install]``.

Whole ``anytag`` processes (with files in the system's cache), a folder of 640 x 480 JPEGs, the time of every stage, one
caption, peak memory, and with ``--install`` the size of a fresh installation without extras. Gives both wall-clock and
processor time; on a busy machine only the latter is meaningful. Writes ``benchmarks/results/lite_speed.json``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _common import add_model_arguments, machine, table, target, write_targets
from _installation import installed_size
from _pictures import EXAMPLES, make_folder
from _processes import command, median_of, run

from anytag.inference.recognizer import Recognizer, load
from anytag.recognition import Recognition


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Wall-clock and processor seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def folder_rate(recognizer: Recognizer, paths: Sequence[Path]) -> dict[str, float]:
    """Pictures per second of ``recognizer.tag`` with a loaded model, including decoding."""
    recognizer.tag(list(paths[:8]))
    spent = timed(lambda: recognizer.tag(list(paths)))
    return {**spent, "per_second": len(paths) / spent["seconds"], "per_cpu_second": len(paths) / spent["cpu_seconds"]}


def stages(recognizer: Recognizer, paths: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Milliseconds per picture of every stage, run separately (in use, decoding overlaps with the rest).

    Decoding uses one thread here; the graphs use all threads of the runtime, in batches as in use.
    """
    preprocessing, batch = recognizer.directory.config.image_encoder.preprocessing, recognizer.batch_size
    labels, backend = recognizer.labels.all(), recognizer.backend
    pixels: list[Any] = []
    decode = timed(lambda: pixels.extend(preprocessing.pixels(preprocessing.read(path)) for path in paths))
    batches = [np.stack(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
    backend.recognize(backend.encode(batches[0]).features, labels.queries)
    encoded: list[Any] = []
    encoder = timed(lambda: encoded.extend(backend.encode(part) for part in batches))
    decoder = timed(lambda: [backend.recognize(part.features, labels.queries) for part in encoded])
    both = timed(lambda: [recognizer.scorer.scores(part, labels) for part in encoded])
    whole = timed(lambda: recognizer.tag(list(paths)))
    spent = {"decode": decode, "encoder": encoder, "recognition": decoder, "recognition and scores": both}
    spent["whole, overlapping"] = whole
    return {
        name: {key.replace("seconds", "ms"): 1000 * value / len(paths) for key, value in entry.items()}
        for name, entry in spent.items()
    }


def captions(recognizer: Recognizer) -> dict[str, Any]:
    """Milliseconds of captions with a loaded model, guided by predicted tags, with default beams."""
    recognizer.caption(EXAMPLES[0])
    preprocessing, options = recognizer.directory.config.image_encoder.preprocessing, recognizer.captioner.options()
    whole, writing, seen = [], [], []
    for path in EXAMPLES:
        results: list[Recognition] = []
        whole.append(timed(partial(_into, results, recognizer.caption, path)))
        features = recognizer.backend.encode(preprocessing.pixels(preprocessing.read(path))[None]).features
        guides = recognizer.captioner.guides(results[0].tags)
        writing.append(timed(partial(recognizer.captioner.caption, features, guides, False, options)))
        seen.append({"picture": path.name, "caption": results[0].caption, "given": [tag.name for tag in guides]})
    return {
        "pictures": len(EXAMPLES),
        "num_beams": options.num_beams,
        **{f"whole_{key.replace('seconds', 'ms')}": _median(whole, key) for key in ("seconds", "cpu_seconds")},
        **{f"writing_{key.replace('seconds', 'ms')}": _median(writing, key) for key in ("seconds", "cpu_seconds")},
        "examples": seen,
    }


def _into(results: list[Any], work: Callable[..., Any], *arguments: Any) -> None:
    results.append(work(*arguments))


def _median(runs: Sequence[dict[str, float]], key: str) -> float:
    return 1000 * statistics.median(entry[key] for entry in runs)


def processes(model: Path | None, folder: Path, count: int, runs: int) -> dict[str, dict[str, float]]:
    """Time and memory of whole processes."""
    options = ["--model", str(model)] if model else []
    picture = str(EXAMPLES[0])
    entries = {
        "python, nothing imported": median_of([sys.executable, "-c", "pass"], runs),
        "python -c 'import anytag'": median_of([sys.executable, "-c", "import anytag"], runs),
        "anytag --version": median_of(command("--version"), runs),
        "anytag tag one.jpg": median_of(command("tag", picture, *options), runs),
        "anytag caption one.jpg": median_of(command("caption", picture, *options), runs),
        f"anytag tag folder ({count})": run(command("tag", str(folder), "--json", *options)),
        f"anytag caption examples ({len(EXAMPLES)})": run(command("caption", *map(str, EXAMPLES), "--json", *options)),
    }
    return {name: asdict(entry) for name, entry in entries.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(arguments, "lite_speed.json")
    arguments.add_argument("--pictures", type=int, default=400, help="pictures in the folder")
    arguments.add_argument("--runs", type=int, default=7, help="cold starts, after one warm-up")
    arguments.add_argument("--install", action="store_true", help="measure a fresh installation's size, too (slow)")
    options = arguments.parse_args()
    record: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = make_folder(folder, options.pictures)
        whole = processes(options.model, folder, len(paths), options.runs)
        recognizer = load(options.model)
        rate = folder_rate(recognizer, paths)
        spent = stages(recognizer, paths[:64])
    caption = captions(recognizer)
    size = installed_size() if options.install else None

    by_folder = f"anytag tag folder ({len(paths)})"
    columns = ["seconds", "cpu_seconds", "peak_mb"]
    rows = [[name, *(entry[column] for column in columns)] for name, entry in whole.items()]
    table("Whole processes (medians of cold starts)", ["", "seconds", "processor seconds", "peak MB"], rows)
    rows = [[name, entry["ms"], entry["cpu_ms"]] for name, entry in spent.items()]
    rows += [[f"caption, {key}", caption[f"{key}_ms"], caption[f"{key}_cpu_ms"]] for key in ("whole", "writing")]
    table("Milliseconds a picture, model loaded", ["stage", "wall", "processor"], rows)
    process_rate = len(paths) / whole[by_folder]["seconds"]
    title = f"Folder of {len(paths)} JPEGs of 640 x 480, pictures a second"
    lines = [
        ["recognizer.tag", rate["per_second"], rate["per_cpu_second"]],
        ["anytag tag, whole process", process_rate, len(paths) / whole[by_folder]["cpu_seconds"]],
    ]
    table(title, ["", "by the clock", "a processor second"], lines)
    if size:
        table("Installed without extras, MB", ["package", "MB"], [*size["largest"].items()])
    targets = [
        target("anytag tag one.jpg, cold", whole["anytag tag one.jpg"]["seconds"], 1.5, False, "s"),
        target("folder, recognizer.tag", rate["per_second"], 25, True, "/s"),
        target("folder, whole process", process_rate, 25, True, "/s"),
        target("caption, whole, model loaded", caption["whole_ms"], 150, False, "ms"),
        target("peak memory of any process", max(entry["peak_mb"] for entry in whole.values()), 500, False, "MB"),
        target("installed without extras", size["megabytes"] if size else None, 350, False, "MB"),
    ]
    record |= {
        "model": {"name": recognizer.directory.config.name, "files": recognizer.directory.config.files},
        "threads": getattr(recognizer.backend, "threads", None),
        "batch_size": recognizer.batch_size,
        "processes": whole,
        "folder": {"pictures": len(paths), "size": [640, 480], **rate, "process_per_second": process_rate},
        "stages": spent,
        "caption": caption,
        "installed": size,
    }
    write_targets(options.out, targets, record)


if __name__ == "__main__":
    main()
