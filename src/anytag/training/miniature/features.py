"""Tokens of the frozen ImageNet encoder, which all paradigms share, computed once per shard."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import compress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anytag.datasets.contents import digest_contents
from anytag.datasets.webdataset import read_shard
from anytag.errors import PictureError, UsageError
from anytag.foundations.atomic_files import save_array
from anytag.foundations.json_lines import read_records, write_records
from anytag.foundations.openvino_core import openvino_core
from anytag.foundations.report import Report
from anytag.foundations.telemetry import import_openvino
from anytag.model.config import ImageEncoderConfig
from anytag.nn.efficientnet_lite import EfficientNetLite, load_imagenet_lite
from anytag.nn.model import encoder_input
from anytag.pictures import read_picture, to_pixels


class TokenEncoder(Protocol):
    """An image encoder for squares of ``resolution`` pixels."""

    resolution: int

    def __call__(self, pixels: Tensor) -> NDArray[Any]:
        """Map normalized pixels ``[B, 3, R, R]`` to tokens ``[B, T, C]``."""


#: The encoder that all paradigms share, with ImageNet weights.
ENCODER = "efficientnet_lite2"


@dataclass(frozen=True)
class Features:
    """Annotations and tokens of pictures.

    Attributes:
        records: Annotations of each picture (:meth:`~anytag.datasets.samples.Sample.to_json`).
        shards: Tokens of each shard, ``[n, T, C]`` in float16, memory-mapped.
    """

    records: tuple[dict[str, Any], ...]
    shards: tuple[NDArray[np.float16], ...]

    def __len__(self) -> int:
        return len(self.records)

    def tokens(self, rows: Sequence[int] | NDArray[np.int64], mirrored: NDArray[np.bool_] | None = None) -> Tensor:
        """Return tokens ``[B, T, C]`` in float32, with the token grid mirrored where ``mirrored`` ``[B]`` is true.

        That nearly equals the tokens of a mirrored picture.
        """
        first = np.cumsum([0, *(len(shard) for shard in self.shards)])
        shard_of = np.searchsorted(first, rows, "right") - 1
        picked = np.stack([self.shards[s][row - first[s]] for s, row in zip(shard_of, rows, strict=True)])
        if mirrored is not None and mirrored.any():
            side = round(picked.shape[1] ** 0.5)
            grid = picked[mirrored].reshape(-1, side, side, picked.shape[2])
            picked[mirrored] = grid[:, :, ::-1].reshape(len(grid), -1, picked.shape[2])
        return torch.from_numpy(picked).float()

    def take(self, keep: Callable[[dict[str, Any]], bool]) -> Features:
        """Select pictures by their records."""
        kept = [keep(record) for record in self.records]
        parts, start = [], 0
        for shard in self.shards:
            rows = np.flatnonzero(kept[start : start + len(shard)])
            parts.append(shard if len(rows) == len(shard) else shard[rows])
            start += len(shard)
        return Features(tuple(compress(self.records, kept)), tuple(parts))


def load_features(
    shards: Sequence[Path], folder: Path, report: Report, encoder: TokenEncoder | None, limit: int | None
) -> Features:
    """Encode the pictures of shards, or read cached tokens.

    Args:
        folder: The cache; each file is written whole or not at all.
        encoder: The encoder; ``None``: :data:`ENCODER`.

    Raises:
        UsageError: If there is no shard, or one cannot be read.
    """
    if not shards:
        raise UsageError("no shards were found; give the folder that holds coco20k, coco_report and world as --data")
    folder.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    parts: list[NDArray[np.float16]] = []
    for shard in shards:
        name = f"{shard.stem}-{digest_contents([shard])}"  # Other shards may have the same name.
        tokens, lines = folder / f"{name}.tokens.npy", folder / f"{name}.jsonl"
        if not tokens.exists() or not lines.exists():
            _cache(encoder or imagenet_encoder(), shard, tokens, lines, report)
        records += read_records(lines)[:limit]
        parts.append(np.load(tokens, mmap_mode="r")[:limit])
    return Features(tuple(records), tuple(parts))


@torch.inference_mode()
def _cache(encoder: TokenEncoder, shard: Path, tokens: Path, lines: Path, report: Report) -> None:
    kept, records, failed = [], [], 0
    waiting: list[NDArray[np.uint8]] = []

    def flush() -> None:
        if waiting:
            pixels = encoder_input(torch.from_numpy(np.stack(waiting)), ImageEncoderConfig())
            kept.append(encoder(pixels).astype(np.float16))
            waiting.clear()

    for sample in read_shard(shard):
        try:
            picture = read_picture(sample.picture, label=sample.source)
        except PictureError as error:
            report(f"left out: {error}")
            failed += 1
            continue
        waiting.append(to_pixels(picture, encoder.resolution))
        if len(waiting) == 4:  # Small enough for the processor's cache.
            flush()
        records.append(sample.to_json())
    flush()
    if not kept:
        raise UsageError(f"{shard}: no picture could be read")
    save_array(tokens, np.concatenate(kept))
    write_records(lines, records)
    report(f"features: {shard.stem}, {len(records)} pictures" + (f", {failed} left out" if failed else ""))


@cache
def imagenet_encoder() -> TokenEncoder:
    """Load :data:`ENCODER` for OpenVINO in float32 if it is installed, else for PyTorch.

    On one core OpenVINO takes half the time; the two differ in the fifth decimal, and tokens are kept in float16.
    """
    encoder = load_imagenet_lite(variant=ENCODER).eval()
    try:
        return _OpenVinoEncoder(encoder)
    except ImportError:
        return _TorchEncoder(encoder)


class _TorchEncoder:
    def __init__(self, encoder: EfficientNetLite):
        self.resolution = encoder.resolution
        self._encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, pixels: Tensor) -> NDArray[Any]:
        return np.asarray(self._encoder(pixels.contiguous(memory_format=torch.channels_last)))


class _OpenVinoEncoder:
    def __init__(self, encoder: EfficientNetLite):
        openvino = import_openvino()
        self.resolution = encoder.resolution
        example = torch.zeros(1, 3, encoder.resolution, encoder.resolution)
        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About sizes that tracing makes constant, as they are here.
            converted = openvino.convert_model(encoder, example_input=example)
        self._compiled = openvino_core().compile_model(converted, "CPU", settings)

    def __call__(self, pixels: Tensor) -> NDArray[Any]:
        return np.asarray(self._compiled(pixels.numpy())[0])
