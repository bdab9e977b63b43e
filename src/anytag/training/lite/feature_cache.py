"""The feature cache: what the frozen part of the image encoder says of every picture, computed once.

The map at stride 16 is kept rather than the last layer's tokens: it is a third of the size, and the layers
above it stay trainable. A picture may have several views (augmented copies), each cached beside the others.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance

from anytag.datasets.samples import Sample
from anytag.datasets.webdataset import read_shard
from anytag.errors import UsageError
from anytag.foundations.atomic_files import save_array, write_text
from anytag.foundations.report import Report
from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.pictures import read_picture, to_pixels
from anytag.pictures.multi_crop import CORNERS, corner

#: Pixels of a picture for each cell of its cached map.
STRIDE = 16


@dataclass(frozen=True)
class CachedShard:
    """One shard's features on disk.

    Attributes:
        records: Per picture: ``id``, ``captions``, ``labels``, ``source``.
        maps: Per view, ``[N, H, W, C]`` float16 (memory-mapped).
        logits: ``[N, 1000]`` float16 ImageNet logits of view 0, the frozen classifier's opinion.
        corners: Per corner crop, maps as those of a view; empty if they were not cached.
    """

    name: str
    records: list[dict[str, Any]]
    maps: list[np.ndarray]
    logits: np.ndarray
    corners: list[np.ndarray] = field(default_factory=list)


def augment(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Random crop (45–100 % of the area, aspect 3:4 to 4:3), mirror image, and light colour changes."""
    width, height = picture.size
    for _ in range(10):
        area = rng.uniform(0.45, 1.0) * width * height
        ratio = rng.uniform(0.75, 4 / 3)
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if w <= width and h <= height:
            x, y = rng.randint(0, width - w), rng.randint(0, height - h)
            picture = picture.crop((x, y, x + w, y + h))
            break
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhancer(picture).enhance(rng.uniform(0.75, 1.25))
    return picture


def _pixels(sample: Sample, resolution: int, view: int, seed: int, cornered: bool = False) -> np.ndarray:
    picture = read_picture(sample.picture, label=sample.source)
    if cornered:
        picture = corner(picture, view)
    elif view:
        picture = augment(picture, random.Random(f"{seed}/{view}/{sample.source}"))
    return to_pixels(picture, resolution)


def _batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def normalise(pixels: np.ndarray) -> torch.Tensor:
    """uint8 ``[B, H, W, 3]`` to the encoder's input ``[B, 3, H, W]``, channels-last in memory.

    EfficientNet-Lite's weights were trained on ``(x - 127) / 128``.
    """
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub_(127).div_(128)


@torch.inference_mode()
def cache_shard(
    encoder: EfficientNetLite,
    shard: Path,
    out: Path,
    view: int,
    seed: int,
    batch_size: int = 32,
    cornered: bool = False,
    resolution: int | None = None,
) -> int:
    """Compute one view of one shard, unless it is there already; or the corner crop of that number.

    Writes ``<shard>.view<k>.npy`` or ``<shard>.corner<k>.npy`` (and for view 0 ``<shard>.jsonl`` and
    ``<shard>.logits.npy``), each whole or not at all.

    Returns:
        Number of pictures computed: 0 if the files were there.

    Raises:
        UsageError: If what is there was computed at another resolution.
    """
    stem = out / shard.stem
    target = stem.with_name(f"{stem.name}.{'corner' if cornered else 'view'}{view}.npy")
    side = resolution or encoder.resolution
    if target.exists():
        _check_size(target, side)
        return 0
    maps, logits, records = [], [], []
    with ThreadPoolExecutor(1) as pool:
        load = lambda batch: np.stack([_pixels(s, side, view, seed, cornered) for s in batch])  # noqa: E731
        batches = list(_batches(read_shard(shard), batch_size))
        pending = [pool.submit(load, batch) for batch in batches[:2]]
        for index, batch in enumerate(batches):
            pixels = pending.pop(0).result()
            if index + 2 < len(batches):
                pending.append(pool.submit(load, batches[index + 2]))
            # Four pictures at a time stay in the processor's cache: twice as fast as thirty-two.
            chunks = normalise(pixels).contiguous(memory_format=torch.channels_last).split(4)
            trunk = torch.cat([encoder.trunk(chunk) for chunk in chunks])
            maps.append(trunk.permute(0, 2, 3, 1).numpy().astype(np.float16))
            if view == 0 and not cornered:
                if encoder.classifier is None:
                    raise ValueError("the encoder needs its ImageNet classifier to cache the teacher's opinion")
                logits.append(encoder.classifier(encoder.crown(trunk).mean(1)).numpy().astype(np.float16))
                records += [{"id": s.id, "captions": s.captions, "labels": s.labels, "source": s.source} for s in batch]
    if view == 0 and not cornered:
        save_array(stem.with_name(f"{stem.name}.logits.npy"), np.concatenate(logits))
        text = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
        write_text(stem.with_name(f"{stem.name}.jsonl"), text + "\n")
    save_array(target, np.concatenate(maps))
    return sum(len(m) for m in maps)


def _check_size(kept: Path, side: int) -> None:
    cells = np.load(kept, mmap_mode="r").shape[1]
    if cells != math.ceil(side / STRIDE):
        raise UsageError(
            f"{kept}: features of pictures of some {cells * STRIDE} px, not {side}; give another folder with --cache"
        )


def cache_features(
    encoder: EfficientNetLite,
    shards: Sequence[Path],
    out: Path,
    views: int = 1,
    seed: int = 0,
    report: Report = print,
    corners: bool = False,
    resolution: int | None = None,
) -> None:
    """Cache every view of every shard; a second call computes only what is missing.

    Args:
        encoder: With ``num_classes=1000``, in eval mode.
        shards: WebDataset shards.
        out: Folder for the cache.
        views: 1 for the plain picture; each further one is an augmented copy.
        seed: Seed of the augmentation.
        report: Receives a line of progress after each shard.
        corners: Cache the four corner crops as well.
        resolution: Side of the pictures, in pixels; ``None``: that of the encoder's own training.
    """
    out.mkdir(parents=True, exist_ok=True)
    kinds = [("view", view) for view in range(views)] + [("corner", k) for k in range(CORNERS if corners else 0)]
    for kind, which in kinds:
        for number, shard in enumerate(shards, 1):
            start = time.perf_counter()
            cornered = kind == "corner"
            count = cache_shard(encoder, Path(shard), out, which, seed, cornered=cornered, resolution=resolution)
            if count:
                rate = count / (time.perf_counter() - start)
                report(f"features: {kind} {which}, shard {number}/{len(shards)} ({shard.stem}), {rate:.0f} pictures/s")


def open_cache(folder: Path, names: Sequence[str], views: int, corners: bool = False) -> list[CachedShard]:
    """Open cached shards by name, in order."""
    shards = []
    for name in names:
        with (folder / f"{name}.jsonl").open(encoding="utf-8") as handle:
            records = [json.loads(line) for line in handle]
        maps = [np.load(folder / f"{name}.view{view}.npy", mmap_mode="r") for view in range(views)]
        crops = [np.load(folder / f"{name}.corner{k}.npy", mmap_mode="r") for k in range(CORNERS if corners else 0)]
        shards.append(CachedShard(name, records, maps, np.load(folder / f"{name}.logits.npy"), crops))
    return shards
