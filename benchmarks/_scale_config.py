"""Assumptions, measurements and planned runs of ``scale_plan.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

OPERATIONS = "operations.json"


@dataclass(frozen=True)
class Gpu:
    """A rented GPU.

    Attributes:
        name: Name of the GPU.
        tflops: Peak of bfloat16 matrix products without sparsity, in 10^12 operations per second.
        price: US dollars per hour.
    """

    name: str
    tflops: float
    price: float


@dataclass(frozen=True)
class Assumptions:
    """Assumptions; docs/scale.md gives their sources.

    Attributes:
        picture_bytes: Size of a JPEG whose longer side is at most 384 px.
        caption_bytes: Size of a sample's texts and of the headers of its files in a shard.
        manifest_bytes: Size of a picture's line in a merged manifest, uncompressed.
        shard_samples: Samples per shard.
        gpus: The kinds of GPU.
        utilization: Share of the peak that training reaches.
        core_price: US dollars per hour of a virtual processor.
        storage_price: US dollars per TB (10^12 bytes) and month of object storage.
        network_gbits: Bandwidth between storage and a machine with 8 GPUs, in Gbit/s.
        caption_tokens: Tokens of a caption in training, including the prompt.
        generated_tokens: Tokens of a generated caption.
        beams: Beams of its search.
        kept_checkpoints: Number of checkpoints on disk at the same time.
    """

    picture_bytes: float = 37_500
    caption_bytes: float = 1_700
    manifest_bytes: float = 1_140
    shard_samples: int = 10_000
    gpus: tuple[Gpu, ...] = (Gpu("A100", 312, 1.85), Gpu("H100", 989, 2.70))
    utilization: float = 0.3
    core_price: float = 0.045
    storage_price: float = 23.0
    network_gbits: float = 10.0
    caption_tokens: int = 16
    generated_tokens: int = 20
    beams: int = 3
    kept_checkpoints: int = 2


@dataclass(frozen=True)
class Measured:
    """Measured rates.

    Attributes:
        cpu_ms: Processor time of one caption (``parse``) or picture, by step of the data engine.
        load_ms: Processor time of decoding and resizing a picture; ``None`` if not measured.

        operations: By model size (``swin_large_224``): multiply-adds per picture of every part, in 10^9;
            parameters.
    """

    cpu_ms: Mapping[str, float]
    load_ms: float | None
    operations: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Recipe:
    """Cost-related settings of a training run.

    Attributes:
        name: Name in ``recipes/official.py``.
        model: Key of :attr:`Measured.operations`.
        epochs: Passes over the pairs.
        learned: Forward and backward passes of each part per picture.
        frozen: Forward-only passes of each part per picture.
        parameters: Parts with trained parameters.
    """

    name: str
    model: str
    epochs: float
    learned: Mapping[str, float]
    frozen: Mapping[str, float] = field(default_factory=dict)
    parameters: tuple[str, ...] = ("tagging", "captioning")


_CAPTIONED = {"image": 1, "tags": 1, "fuse": 1, "decode": 1}
#: Contrast and matching of Tag2Text: the text alone, three pairs of picture and text, and both momentum encoders.
TAG2TEXT = Recipe("tag2text_14m", "swin_base_224", 20, _CAPTIONED | {"fuse": 5}, {"image": 1, "fuse": 1})
RAM = Recipe("ram_14m", "swin_large_224", 5, _CAPTIONED, {"teacher": 1})
#: In addition to all tags, each picture is scored with the captions of the 90 pictures on its GPU.
RAM_PLUS = Recipe(
    "ram_plus_14m", "swin_base_224", 5, {"image": 1, "tags": 1 + 90 / 4585}, {"teacher": 1, "text": 1}, ("tagging",)
)
RAM_BASE = replace(RAM, name="ram_14m, Swin-B", model="swin_base_224")
RAM_PLUS_LARGE = replace(
    RAM_PLUS, name="ram_plus_14m_large", model="swin_large_224", learned={"image": 1, "tags": 1 + 52 / 4585}
)

#: Pairs, recipe, GPUs.
RUNS = (
    *((14e6, recipe, 8) for recipe in (TAG2TEXT, RAM_BASE, RAM, RAM_PLUS, RAM_PLUS_LARGE)),
    *((1e9, replace(recipe, epochs=1), 64) for recipe in (RAM_BASE, RAM, RAM_PLUS, RAM_PLUS_LARGE)),
)
#: Runs whose steps are broken down.
SHOWN = (TAG2TEXT, RAM_BASE, RAM, RAM_PLUS, RAM_PLUS_LARGE)

#: Reported by RAM's authors (section 4): Swin-L, 14 million pictures, 5 passes, 3 days on 8 A100.
REPORTED_HOURS = 3 * 24 * 8


def read_measured(folder: Path) -> Measured:
    """Read the rates from a folder of results."""
    engine = json.loads((folder / "data_engine.json").read_text(encoding="utf-8"))["rates"]
    operations = json.loads((folder / OPERATIONS).read_text(encoding="utf-8"))["models"]
    loading = folder / "data_loading.json"
    best = None
    if loading.exists():
        shards = json.loads(loading.read_text(encoding="utf-8"))["loading"]["shard"]
        best = 1000 / max(speed["per_cpu_second"] for speed in shards)
    return Measured({step: rates["one process"]["cpu_ms_each"] for step, rates in engine.items()}, best, operations)


def assumptions(changes: Sequence[str], gpus: Sequence[str]) -> Assumptions:
    """The assumptions with ``name=value`` changes and GPUs given as ``name:tflops:price``.

    Raises:
        SystemExit: If there is no such assumption, or it is not a number.
    """
    known = {name: value for name, value in asdict(Assumptions()).items() if name != "gpus"}
    values: dict[str, Any] = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in known:
            raise SystemExit(f"--assume {change}: no such assumption; there are {', '.join(known)}")
        try:
            values[name] = type(known[name])(value)
        except ValueError:
            raise SystemExit(f"--assume {change}: {name} is a number, such as {known[name]}") from None
    if gpus:
        try:
            values["gpus"] = tuple(Gpu(name, float(tflops), float(price)) for name, tflops, price in map(_parts, gpus))
        except ValueError:
            raise SystemExit(f"--gpu {' '.join(gpus)}: expected NAME:TFLOPS:PRICE, such as A100:312:1.85") from None
    return replace(Assumptions(), **values)


def _parts(text: str) -> list[str]:
    return text.split(":")
