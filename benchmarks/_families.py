"""Parts of the benchmark of the official families: models with random weights, turns, memory, peaks."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _pictures import make_folder

from anytag.backends.torch import TorchBackend
from anytag.model import families
from anytag.model.config import ModelConfig
from anytag.model.directory import ModelDirectory, write_config
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.nn.weights import WEIGHTS_FILE, empty_model, write_weights

TAGS = {"tag2text": 3429, "ram": 4585, "ram_plus": 4585}

#: Ways to run a model, in addition to the reference.
VARIANTS = (
    "torch float32",
    "torch bfloat16",
    "onnx float32",
    "onnx int8",
    "openvino float32",
    "openvino bfloat16",
    "onnx fixed int8",
    "openvino fixed int8",
    "openvino bfloat16 fixed int8",
)

#: Suffixes of variants and their graphs. Activation scales are measured on photographs for ``fixed int8``, and dynamic
#: for ``int8``.
_GRAPHS_OF = (("fixed int8", "fixed-int8"), ("int8", "int8"), ("", "float32"))

#: Number of photographs for measuring these scales, with other seeds than the timed pictures.
CALIBRATION = 8

#: Parts of each family that the benchmark runs.
_TAGGING = ("image_encoder", "recognition_decoder")
GRAPHS = {
    "tag2text": (*_TAGGING, "interaction_encoder", "text_decoder"),
    "ram": _TAGGING,
    "ram_plus": _TAGGING,
}


def family_config(family: str, tiny: bool) -> tuple[ModelConfig, int]:
    """Return the official sizes, or very small ones for a trial, and the number of tags."""
    config = getattr(families, family)()
    if not tiny:
        return config, TAGS[family]
    encoder = families.swin_encoder("base", 64, config.image_encoder.projection == "linear")
    assert encoder.swin is not None
    swin = encoder.swin.model_copy(update={"width": 32, "depths": (2, 2, 2, 2)})
    encoder = encoder.model_copy(update={"swin": swin, "width": swin.width * 8})
    update: dict[str, Any] = {"image_encoder": encoder}
    if family == "tag2text":
        update["feature_width"] = encoder.width
    if config.captioner is not None:
        update["captioner"] = config.captioner.model_copy(update={"layers": 2, "interaction_layers": 3})
    return config.model_copy(update=update), 50


def make_directory(family: str, folder: Path, tiny: bool = False) -> ModelDirectory:
    """Make a model directory with random weights, unless it exists.

    Weights are scaled to keep activations near one: with very small weights, no outputs would differ. Tiny
    models are put beside ``folder``, so that they are not mistaken for full ones.
    """
    folder = folder.with_name(f"{folder.name}-tiny") if tiny else folder
    if (folder / "config.json").exists():
        return ModelDirectory(folder)
    config, tags = family_config(family, tiny)
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, parameter in empty_model(config, tags).named_parameters():
        shape = parameter.shape
        if len(shape) > 1:
            drawn = torch.randn(shape, generator=generator)
            if name == "label_queries.embeddings":
                if drawn.dim() == 3:  # Descriptions of one tag are similar: cosines of 0.8.
                    drawn = 2 * torch.randn(shape[0], 1, shape[2], generator=generator) + drawn
                drawn = torch.nn.functional.normalize(drawn, dim=-1)
            elif name == "label_queries.projection.weight":
                pass  # Its inputs are unit vectors.
            elif "words" not in name and "label_queries" not in name and "position" not in name:
                drawn *= (drawn[0].numel()) ** -0.5
            weights[name] = drawn
        elif name.endswith("scale"):
            weights[name] = torch.tensor(1 / 0.07).log()
        else:
            weights[name] = torch.full(shape, float(name.endswith("weight")))
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(weights, folder / WEIGHTS_FILE)
    TagVocabulary(VocabularyTag(i, f"tag {i}", "object") for i in range(tags)).save(folder / "vocabulary.json")
    write_config(folder, config, ["vocabulary.json", WEIGHTS_FILE])
    return ModelDirectory(folder)


def make_graphs(source: ModelDirectory, weights: str, report: Callable[[str], None] = print) -> ModelDirectory:
    """Export the model to ONNX beside ``source``, unless it exists."""
    from anytag.export.official import export_official

    out = source.path.with_name(f"{source.path.name}-onnx-{weights}")
    if not (out / "config.json").exists():
        graphs = GRAPHS[source.config.family]
        stored, calibration = weights, None
        if weights == "fixed-int8":
            stored, calibration = "int8", list(photographs(source, CALIBRATION, seed=1))
        export_official(source.path, out, stored, report, graphs, calibration)  # type: ignore[arg-type]
    return ModelDirectory(out)


def photographs(source: ModelDirectory, count: int, seed: int) -> Any:
    """Pixels ``[count, R, R, 3]`` of crops of the examples, as inputs of the model."""
    with tempfile.TemporaryDirectory() as folder:
        paths = make_folder(Path(folder), count, seed=seed)
        return np.concatenate([b.pixels for b in source.config.image_encoder.preprocessing.batches(paths, count)])


def graphs_of_variant(variant: str) -> str:
    """Graphs of a variant."""
    return next(graphs for end, graphs in _GRAPHS_OF if variant.endswith(end))


def open_backend(
    source: ModelDirectory, variant: str, threads: int, graphs_of: Callable[[ModelDirectory, str], ModelDirectory]
) -> Any:
    """Open the backend of a variant.

    Args:
        source: Model directory with PyTorch weights.
        variant: One of :data:`VARIANTS`.
        threads: Of the runtime.
        graphs_of: Returns the graphs of ``source``: ``float32``, ``int8`` or ``fixed-int8``.
    """
    runtime = variant.split()[0]
    precision = "bfloat16" if "bfloat16" in variant else "float32"
    if runtime == "torch":
        return TorchBackend(source, threads, precision=precision)
    graphs = graphs_of(source, graphs_of_variant(variant))
    if runtime == "onnx":
        from anytag.backends.onnx import OnnxBackend

        return OnnxBackend(graphs, threads)
    from anytag.backends.openvino import OpenVinoBackend

    return OpenVinoBackend(graphs, threads, precision=precision)


#: Timed stages; each gets the output of the one before.
Stages = dict[str, Callable[[Any], Any]]


@dataclass(frozen=True)
class Turn:
    """One run of one variant: seconds of its stages, and its result."""

    seconds: dict[str, float]
    result: Any


#: Clocks. Processor time is not affected by other programs on a busy machine.
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def timed(stages: Stages, clock: str = "wall") -> Turn:
    """Run stages; each gets the output of the one before."""
    seconds, value, now = {}, None, CLOCKS[clock]
    for name, work in stages.items():
        start = now()
        value = work(value)
        seconds[name] = now() - start
    return Turn(seconds, value)


def in_turns(variants: dict[str, Stages], runs: int, clock: str = "wall") -> dict[str, Turn]:
    """Median seconds of every variant's stages and of their sum; variants take turns, after one warm-up round."""
    results = {name: timed(stages).result for name, stages in variants.items()}
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for _ in range(runs):
        for name, stages in variants.items():
            seconds = timed(stages, clock).seconds
            seen[name].append(seconds | {"seconds": sum(seconds.values())})
    gc.collect()
    return {
        name: Turn({stage: statistics.median(s[stage] for s in several) for stage in several[0]}, results[name])
        for name, several in seen.items()
    }


_LOADER = """
import json, resource, sys, time
import numpy as np
import anytag
from anytag.backends.torch import TorchBackend  # What a process pays once, whatever it loads.
path, picture = sys.argv[1], np.zeros((64, 64, 3), np.uint8)
def memory():
    lines = open('/proc/self/status').read().splitlines()
    return {k: int(v.split()[0]) * 1024 / 1e6 for k, v in (l.split(':', 1) for l in lines) if k in ('VmRSS', 'VmHWM')}
before, start = memory()['VmRSS'], time.perf_counter()
recognizer = anytag.load(path, threads=int(sys.argv[2]))
recognizer.labels.all()
load, held = time.perf_counter() - start, memory()['VmRSS'] - before
recognizer.tag(picture)
first, used = time.perf_counter() - start, memory()
print(json.dumps([load, held, first, used['VmRSS'] - before, used['VmHWM'] - before]))
"""


def loading(directory: ModelDirectory, threads: int, runs: int) -> dict[str, float]:
    """Seconds and memory of opening a model in a new process, including checksums and label queries."""
    size = (directory.path / WEIGHTS_FILE).stat().st_size / 1e6
    several = []
    for _ in range(runs + 1):
        command = [sys.executable, "-c", _LOADER, str(directory.path), str(threads)]
        several.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    load, held, first, used, peak = np.median(several[1:], 0).tolist()
    return {
        "load_s": load,
        "first_picture_s": first,
        "file_mb": size,
        "after_load_mb": held,
        "after_picture_mb": used,
        "peak_mb": peak,
        "after_load_per_file": held / size,
        "peak_per_file": peak / size,
    }


def write_official(family: str, keys: Path, folder: Path) -> Path:
    """Make a checkpoint of random weights with the official names and shapes, and its tag list."""
    file = folder / f"{family}_official.pth"
    shapes: dict[str, list[int]] = json.loads(keys.read_text(encoding="utf-8"))
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        generator, state = torch.Generator().manual_seed(0), {}
        for name, shape in shapes.items():
            integer = name.endswith(("relative_position_index", "position_ids"))
            state[name] = torch.zeros(shape, dtype=torch.int64 if integer else torch.float32)
            if not integer:
                state[name].uniform_(-0.05, 0.05, generator=generator)
        for name in shapes:  # Tied parameters are one tensor in the official files, too.
            other = name.replace("tag_encoder.encoder", "tagging_head.encoder")
            if other in shapes:
                state[name] = state[other]
        tied = {"decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight", "decoder.bias": None}
        for end, other in tied.items():
            name = f"text_decoder.cls.predictions.{end}"
            if name in state:
                state[name] = state[other or "text_decoder.cls.predictions.bias"]
        torch.save({"model": state}, file)
    (folder / f"{family}_tags.txt").write_text("\n".join(f"tag {i}" for i in range(TAGS[family])), encoding="utf-8")
    return file
