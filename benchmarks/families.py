"""Measure the published families at full size: ``python benchmarks/families.py ram [--runs 5] [--onnx DIR]``.

Random weights in the published sizes. The rival is the reference's own arithmetic in PyTorch eager over the same
weights (``_reference.py``), in the same process and with the same threads; all variants take turns, so that a busy
moment hits each. Pictures are random; what counts is that logits agree. Writes
``benchmarks/results/families_<family>.json``.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _reference
import numpy as np
import torch
from _common import RESULTS, machine, table, write_result

from anytag import families
from anytag.backends.torch import TorchBackend
from anytag.generation import DecodingOptions, generate
from anytag.model_directory import ModelDirectory, write_config
from anytag.nn.model import RecognitionModel
from anytag.nn.weights import WEIGHTS_FILE, write_weights
from anytag.vocabulary import TagVocabulary, VocabularyTag

TAGS = {"tag2text": 3429, "ram": 4585, "ram_plus": 4585}
CAPTION = DecodingOptions(num_beams=3, max_length=20, min_length=19)


def make_directory(family: str, folder: Path) -> ModelDirectory:
    """A model directory of random weights in the published sizes."""
    config = getattr(families, family)()
    torch.manual_seed(0)
    model = RecognitionModel(config, TAGS[family])
    labels = model.label_queries
    if hasattr(labels, "embeddings"):
        torch.nn.functional.normalize(torch.randn_like(labels.embeddings), dim=-1, out=labels.embeddings.data)
    write_weights(dict(model.named_parameters()), folder / WEIGHTS_FILE)
    TagVocabulary(VocabularyTag(i, f"tag {i}", "object") for i in range(TAGS[family])).save(folder / "vocabulary.json")
    write_config(folder, config, ["vocabulary.json", WEIGHTS_FILE])
    return ModelDirectory(folder)


def resident_megabytes() -> float:
    """What the process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / 1e6


def loading(directory: ModelDirectory) -> dict[str, float]:
    """Seconds and memory of opening a model and of touching every weight once; checksums apart."""
    gc.collect()
    before, start = resident_megabytes(), time.perf_counter()
    directory._checked.update(directory.config.files)  # The checksum reads the file once; measured for itself below.
    backend = TorchBackend(directory)
    opened = time.perf_counter() - start
    for parameter in backend.model.parameters():
        parameter.sum()
    touched = time.perf_counter() - start
    size = (directory.path / WEIGHTS_FILE).stat().st_size / 1e6
    held = resident_megabytes() - before
    return {"open_s": opened, "touch_s": touched, "file_mb": size, "held_mb": held, "held_per_file": held / size}


def interleaved(variants: dict[str, Callable[[], Any]], runs: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds of every variant, run in turns after one warm-up each, and its last result."""
    results = {name: work() for name, work in variants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(runs):
        for name, work in variants.items():
            start = time.perf_counter()
            results[name] = work()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}, results


def tagging(directory: ModelDirectory, runs: int, batch: int, others: dict[str, Any]) -> dict[str, Any]:
    """Seconds for a batch, ratio to the reference, and how far logits and scores are apart."""
    plain = TorchBackend(directory)
    backends = {"torch float32": plain, "torch bfloat16": TorchBackend(directory, precision="bfloat16"), **others}
    labels = {name: backend.label_queries() for name, backend in backends.items()}
    size = directory.config.image_encoder.resolution
    pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    normalised = ((torch.from_numpy(pixels).float() - plain._mean) * plain._scale).permute(0, 3, 1, 2).contiguous()

    def reference() -> Any:
        with torch.inference_mode():
            return _reference.tag(plain.model, normalised).numpy()

    def ours(name: str) -> Callable[[], Any]:
        return lambda: backends[name].recognize(backends[name].encode(pixels).features, labels[name])

    seconds, logits = interleaved({"reference": reference, **{name: ours(name) for name in backends}}, runs)
    truth = logits["reference"]
    return {
        name: {
            "seconds": seconds[name],
            "faster": seconds["reference"] / seconds[name],
            "largest_logit_difference": float(np.abs(logits[name] - truth).max()),
            "largest_score_difference": float(np.abs(_sigmoid(logits[name]) - _sigmoid(truth)).max()),
            "mean_score_difference": float(np.abs(_sigmoid(logits[name]) - _sigmoid(truth)).mean()),
        }
        for name in seconds
    }


def captioning(directory: ModelDirectory, runs: int) -> dict[str, Any]:
    """Seconds of a caption of 20 tokens with three beams, tags given and features at hand."""
    plain = TorchBackend(directory)
    backends = {"torch float32": plain, "torch bfloat16": TorchBackend(directory, precision="bfloat16")}
    config = directory.config
    features = np.random.default_rng(1).normal(size=(1, config.image_encoder.tokens, config.features))
    features = features.astype(np.float32)
    tags = np.zeros((1, 40), np.int64)
    tags[0, :12] = np.arange(2000, 2012)
    prompt = np.array([30522, 1037, 3861, 1997])

    def write(step: Any) -> Any:
        [made] = generate(step, prompt, num_pictures=1, eos_id=102, pad_id=0, options=CAPTION)
        return made.tokens

    def reference() -> Any:
        with torch.inference_mode():
            step = _reference.caption_step(plain.model, torch.from_numpy(tags), torch.from_numpy(features), 3)
            return write(step)

    def ours(name: str) -> Callable[[], Any]:
        return lambda: write(backends[name].fuse(tags, features, 3))

    seconds, tokens = interleaved({"reference": reference, **{name: ours(name) for name in backends}}, runs)
    return {
        name: {
            "seconds": seconds[name],
            "faster": seconds["reference"] / seconds[name],
            "same_caption": tokens[name] == tokens["reference"],
        }
        for name in seconds
    }


def _sigmoid(logits: Any) -> Any:
    return 1 / (1 + np.exp(-logits))


def main() -> None:
    """Measure one family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=sorted(TAGS))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 4])
    parser.add_argument(
        "--onnx", type=Path, help="Also export to ONNX (float32 and int8) into this folder and measure."
    )
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    result: dict[str, Any] = {"machine": machine() | {"torch": torch.__version__}, "threads": given.threads}
    with tempfile.TemporaryDirectory() as folder:
        directory = make_directory(given.family, Path(folder))
        result["loading"] = loading(directory)
        others = _onnx_backends(directory, given.onnx, given.threads) if given.onnx else {}
        for batch in given.batch:
            result[f"tagging, batch {batch}"] = tagging(directory, given.runs, batch, others)
        if directory.config.captioner is not None and given.family == "tag2text":
            result["caption"] = captioning(directory, given.runs)
    for name, rows in result.items():
        if name not in ("machine", "threads", "loading"):
            columns = list(next(iter(rows.values())))
            table(
                f"{given.family}: {name}",
                ["", *columns],
                [[variant, *(_shown(row[c]) for c in columns)] for variant, row in rows.items()],
            )
    table(f"{given.family}: loading", list(result["loading"]), [[_shown(v) for v in result["loading"].values()]])
    write_result(given.out or RESULTS / f"families_{given.family}.json", result)


def _onnx_backends(directory: ModelDirectory, folder: Path, threads: int) -> dict[str, Any]:
    from anytag.backends.onnx import OnnxBackend
    from anytag.export.published import export_published

    made = {}
    for weights in ("float32", "int8"):
        out = folder / f"{directory.config.name}-{weights}"
        export_published(directory.path, out, weights)  # type: ignore[arg-type]
        made[f"onnx {weights}"] = OnnxBackend(ModelDirectory(out), threads)
    return made


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
