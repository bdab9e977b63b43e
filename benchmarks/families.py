"""Measure the official families at full size: ``python benchmarks/families.py --work DIR [--only ram caption …]``.

Uses random weights in the official sizes. They are compared with the reference computation in eager PyTorch with the
same weights (``_reference.py``), in the same process with the same threads. All variants take turns, so that a busy
moment affects all of them. Pictures are crops of the examples; logits must agree. Models and graphs are made and kept
in ``--work`` (20 GB for everything); ``--prepare`` only makes them, so that you can measure on a quiet machine later.
Every part replaces its own figures in ``benchmarks/results/families.json``.

Not every processor has matrix units (AMX). ``ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI`` before the command keeps PyTorch and
OpenVINO from using them and bfloat16 (``AVX512_CORE_BF16``: only from using them); ONNX Runtime ignores it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _reference
import numpy as np
import torch
from _agreement import agreement, make_lite, make_lite_graphs
from _common import RESULTS, add_data_argument, machine, print_targets, table, target, write_result
from _families import (
    CLOCKS,
    VARIANTS,
    Stages,
    graphs_of_variant,
    in_turns,
    loading,
    make_directory,
    make_graphs,
    open_backend,
    photographs,
    write_official,
)
from _processes import command, run
from _roofline import matrix_peaks, multiply_adds, roofline, time_by_kind
from _shortcuts import COARSE, coarse_stages, few_tags

from anytag.foundations.log_odds import sigmoid
from anytag.inference.decoding_options import DecodingOptions
from anytag.inference.generation import generate
from anytag.model.directory import ModelDirectory
from anytag.nn.model import RecognitionModel
from anytag.nn.weights import WEIGHTS_FILE, read_model

PARTS = ("ram", "ram_plus", "tag2text", "caption", "load", "convert", "agreement")

#: Typical number of tags of a photograph; this many of the best random scores count as found.
BEST = 20

CAPTION = DecodingOptions(num_beams=3, max_length=20, min_length=19)

#: The official key lists, by family.
KEYS = {
    "ram": "keys_ram_swin_l.json",
    "ram_plus": "keys_ram_plus_swin_l.json",
    "tag2text": "keys_tag2text_swin_b.json",
}


def tagging(
    directory: ModelDirectory, variants: list[str], runs: int, batches: list[int], threads: int, clock: str
) -> Any:
    """Per batch size and variant: seconds of both stages, ratio to the reference, and difference of results."""
    config = directory.config
    model = read_model(config, len(directory.vocabulary), directory.path / WEIGHTS_FILE)
    backends = {name: open_backend(directory, name, threads, make_graphs) for name in variants}
    labels = {name: backend.vocabulary_queries() for name, backend in backends.items()}
    by_batch: dict[int, dict[str, Stages]] = {}
    for batch in batches:
        pixels = photographs(directory, batch, seed=0)
        stages = by_batch[batch] = {"reference": _reference_stages(model, pixels)}
        for name, backend in backends.items():
            stages[name] = {
                "encode_s": lambda _, b=backend, p=pixels: b.encode(p).features,
                "recognize_s": lambda features, b=backend, n=name: b.recognize(features, labels[n]),
            }
        if {"torch float32", "torch bfloat16"} <= backends.keys():
            stages[COARSE] = coarse_stages(backends, labels, pixels, BEST)
    # Measure all batch sizes of a variant together, because the machine's speed changes over time.
    names = by_batch[batches[0]]
    both = in_turns({f"{name}, {batch}": by_batch[batch][name] for name in names for batch in batches}, runs, clock)
    found: dict[str, Any] = {}
    for batch, stages in by_batch.items():
        turns = {name: both[f"{name}, {batch}"] for name in names}
        truth, whole = turns["reference"].result, turns["reference"].seconds["seconds"]
        found[f"batch {batch}"] = {
            name: turn.seconds | {"faster": whole / turn.seconds["seconds"]} | _distance(truth, turn.result)
            for name, turn in turns.items()
        }
        if batch == 1:
            found["roofline"] = _where_time_goes(stages, found["batch 1"])
            features = stages["reference"]["encode_s"](None).numpy()
            for name, row in found["batch 1"].items():
                apart = np.abs(np.asarray(stages[name]["encode_s"](None)) - features)
                row["features_apart"] = float(apart.mean() / np.abs(features).mean())
            found["few tags"] = few_tags(backends, labels, features, runs)
    return found


def _reference_stages(model: RecognitionModel, pixels: Any) -> Stages:
    mean, std = torch.tensor(model.config.image_encoder.mean), torch.tensor(model.config.image_encoder.std)
    normalized = ((torch.from_numpy(pixels).float() - mean) / std).permute(0, 3, 1, 2).contiguous()
    return {
        "encode_s": torch.inference_mode()(lambda _: _reference.encode(model, normalized)),
        "recognize_s": torch.inference_mode()(lambda features: _reference.recognize(model, features).numpy()),
    }


def _where_time_goes(stages: dict[str, Stages], rows: dict[str, Any]) -> dict[str, Any]:
    """The roofline of one picture and, for PyTorch, the time share of each kind of operation."""
    encode, recognize = stages["reference"].values()
    with torch.inference_mode():
        features = encode(None)
        counts = {
            "encode_s": multiply_adds(lambda: encode(None)),
            "recognize_s": multiply_adds(lambda: recognize(features)),
        }
    shown = roofline(counts, matrix_peaks(), rows)
    for name, (first, second) in ((name, tuple(work.values())) for name, work in stages.items()):
        if name == "reference" or name.startswith("torch"):
            given = first(None)
            shown[name]["encode"]["shares"] = time_by_kind(lambda work=first: work(None))
            shown[name]["recognize"]["shares"] = time_by_kind(lambda work=second, f=given: work(f))
    return shown


def _distance(truth: Any, logits: Any) -> dict[str, float]:
    # Random logits can be anywhere, so choose a threshold that as many tags pass as for a photograph.
    limit = np.quantile(truth, 1 - BEST / truth.shape[1])
    a, b = truth >= limit, logits >= limit
    apart = np.abs(sigmoid(np.asarray(logits, np.float64)) - sigmoid(np.asarray(truth, np.float64)))
    return {
        "largest_logit_difference": float(np.abs(logits - truth).max()),
        "largest_score_difference": float(apart.max()),
        "mean_score_difference": float(apart.mean()),
        f"best_{BEST}_f1": float(2 * (a & b).sum() / (a.sum() + b.sum())),
    }


def captioning(directory: ModelDirectory, variants: list[str], runs: int, threads: int, clock: str) -> dict[str, Any]:
    """Seconds of a caption of 20 tokens with three beams, from given tags and computed features."""
    config = directory.config
    model = read_model(config, len(directory.vocabulary), directory.path / WEIGHTS_FILE)
    backends = {name: open_backend(directory, name, threads, make_graphs) for name in variants}
    features = np.random.default_rng(1).normal(size=(1, config.image_encoder.tokens, config.features))
    features = features.astype(np.float32)
    tags = np.zeros((1, 40), np.int64)
    tags[0, :12] = np.arange(2000, 2012)
    prompt = np.array([30522, 1037, 3861, 1997])

    def write(step: Any) -> Any:
        [made] = generate(step, prompt, num_pictures=1, eos_id=102, pad_id=0, options=CAPTION)
        return made.tokens

    def reference_step(_: Any) -> Any:
        with torch.inference_mode():
            return _reference.caption_step(model, torch.from_numpy(tags), torch.from_numpy(features), 3)

    stages: dict[str, Stages] = {"reference": {"fuse_s": reference_step, "write_s": torch.inference_mode()(write)}}
    for name, backend in backends.items():
        stages[name] = {"fuse_s": lambda _, b=backend: b.fuse(tags, features, 3), "write_s": write}
    turns = in_turns(stages, runs, clock)
    whole, tokens = turns["reference"].seconds["seconds"], turns["reference"].result
    return {
        name: turn.seconds
        | {"faster": whole / turn.seconds["seconds"], "tokens": len(turn.result), "same_caption": turn.result == tokens}
        for name, turn in turns.items()
    }


def converting(family: str, oracle: Path, folder: Path) -> dict[str, float]:
    """Seconds and peak memory of ``anytag convert`` on a full-size file in the official format."""
    file, out = write_official(family, oracle / KEYS[family], folder), folder / f"{family}-converted"
    shutil.rmtree(out, ignore_errors=True)
    names = ["--family", family, "--tags", str(folder / f"{family}_tags.txt"), "--out", str(out)]
    done, size = run(command("convert", str(file), *names)), file.stat().st_size / 1e6
    return {
        "seconds": done.seconds,
        "cpu_seconds": done.cpu_seconds,
        "file_mb": size,
        "peak_mb": done.peak_mb,
        "peak_per_file": done.peak_mb / size,
    }


def targets(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The measured figures that have targets."""
    rows = []
    for family in ("ram", "ram_plus"):
        if family in result:
            one = {name: row for name, row in result[family]["batch 1"].items() if name != "reference"}
            same = {name: row for name, row in one.items() if "float32" in name and name != COARSE}
            low = {name: row["faster"] for name, row in one.items() if "float32" not in name}
            full = max((row["faster"] for row in same.values()), default=None)
            apart = max((row["largest_logit_difference"] for row in same.values()), default=None)
            rows.append(target(f"{family}, float32, faster", full, 1.25, True, "x"))
            rows.append(target(f"{family}, float32, logits apart", apart, 1e-3, False))
            rows.append(target(f"{family}, reduced, faster", max(low.values(), default=None), 3, True, "x"))
            for name, row in result[family].get("batch 4", {}).items():
                if name != "reference":
                    ratio = row["seconds"] / one[name]["seconds"]
                    rows.append(target(f"{family}, {name}, batch 4 / batch 1", ratio, 4, False, "x"))
    if "caption" in result:
        best = {name: row["faster"] for name, row in result["caption"].items() if name != "reference"}
        rows.append(target("caption, faster", max(best.values(), default=None), 2.5, True, "x"))
    if "load" in result:
        rows.append(target("load RAM", result["load"]["ram"]["load_s"], 2, False, "s"))
        rows.append(target("load RAM, memory / file", result["load"]["ram"]["after_load_per_file"], 1.1, False))
    for name, row in result.get("agreement", {}).items():
        if "float32" not in name:
            rows.append(target(f"agreement, {name}, tag-set F1", row["tag_set_f1"], 0.99, True))
    for family, row in result.get("convert", {}).items():
        rows.append(target(f"convert {family}, peak / file", row["peak_per_file"], 1.3, False))
    return rows


def main() -> None:
    """Run the benchmark and merge the measured parts into the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="Folder for models and graphs.")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), help="Parts to measure.")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS), help="Variants to measure.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="Clock for seconds; use processor on a busy machine."
    )
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--tiny", action="store_true", help="Use very small sizes, to try the benchmark.")
    parser.add_argument("--prepare", action="store_true", help="Make missing models and graphs in --work, and stop.")
    parser.add_argument("--pictures", type=int, default=250, help="Photographs per shard for measuring agreement.")
    add_data_argument(parser, required=False)
    parser.add_argument(
        "--oracle", type=Path, default=Path("../shared/oracle"), help="Folder of the official key lists."
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "families.json")
    given = parser.parse_args()
    if "agreement" in given.only and given.data is None and not given.prepare:
        parser.error("agreement is measured on photographs: give --data, or leave it out of --only")
    torch.set_num_threads(given.threads)

    def directory(family: str) -> ModelDirectory:
        return make_directory(family, given.work / family, given.tiny)

    if given.prepare:
        prepare(given, directory)
        return
    result: dict[str, Any] = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    for part in given.only:
        if part == "caption":
            measured: Any = captioning(directory("tag2text"), given.variants, given.runs, given.threads, given.clock)
        elif part == "load":
            measured = {"ram": loading(directory("ram"), given.threads, given.runs)}
        elif part == "convert":
            measured = {family: converting(family, given.oracle, given.work) for family in KEYS}
        elif part == "agreement":
            measured = agreement(given.work / "lite", given.data, given.variants, given.pictures, given.threads)
        else:
            measured = tagging(directory(part), given.variants, given.runs, given.batch, given.threads, given.clock)
        result[part] = measured
        result.setdefault("machines", {})[part] = machine() | {
            "torch": torch.__version__,
            "threads": given.threads,
            "clock": given.clock,
            "instructions": os.environ.get("ONEDNN_MAX_CPU_ISA", "all"),
        }
        result["targets"] = targets(result)
        _print(part, measured)
        write_result(given.out, result)  # Save after every part, so that an interruption loses only one.
    print_targets(result["targets"])


def prepare(given: argparse.Namespace, directory: Callable[[str], ModelDirectory]) -> None:
    """Make models and graphs."""
    for part in given.only:
        if part == "convert":
            for family, name in KEYS.items():
                write_official(family, given.oracle / name, given.work)
            continue
        if part == "agreement":
            source, graphs_of = make_lite(given.work / "lite"), make_lite_graphs
        else:
            source, graphs_of = directory({"caption": "tag2text", "load": "ram"}.get(part, part)), make_graphs
        if part != "load":
            for kind in {graphs_of_variant(variant) for variant in given.variants if not variant.startswith("torch")}:
                graphs_of(source, kind)


def _print(part: str, measured: dict[str, Any]) -> None:
    groups = {part: measured} if part in ("caption", "load", "convert", "agreement") else measured
    for name, rows in groups.items():
        if name != "roofline":
            columns = list(next(iter(rows.values())))
            body = [[variant, *(row[column] for column in columns)] for variant, row in rows.items()]
            table(part if name == part else f"{part}, {name}", ["", *columns], body)


if __name__ == "__main__":
    main()
