"""Cache the frozen encoder's tokens of every cached view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anytag.foundations.atomic_files import save_array
from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.training.engine.autocast import autocast
from anytag.training.families.feature_cache import CachedShard


def with_tokens(
    shards: Sequence[CachedShard],
    encoder: EfficientNetLite,
    folder: Path,
    report: Callable[[str], None] = print,
) -> list[CachedShard]:
    """Replace the shards' maps by the grid of the encoder's last layer, ``[N, 9, 9, C]`` float16.

    Training then mirrors the grid of tokens instead of the map below; the results are nearly the same.

    Args:
        shards: Cached shards.
        encoder: The frozen encoder of all runs.
        folder: Folder of the tokens, written atomically per view; existing ones are reused.
        report: Receives a line for each computed shard.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for shard in shards:
        views = []
        for number, maps in enumerate(shard.maps):
            path = folder / f"{shard.name}.view{number}.npy"
            if not path.exists():
                save_array(path, _as_grid(to_tokens(encoder, maps)))
                report(f"tokens: {path.stem}")
            views.append(np.load(path, mmap_mode="r"))
        changed.append(replace(shard, maps=views))
    return changed


@torch.inference_mode()
def to_tokens(encoder: EfficientNetLite, maps: np.ndarray) -> Tensor:
    """Run cached maps ``[N, H, W, C]`` through the encoder's upper stages: tokens ``[N, T, C']`` in bfloat16."""
    parts = []
    for start in range(0, len(maps), 8):
        with autocast("cpu"):
            few = torch.from_numpy(maps[start : start + 8].copy()).float().permute(0, 3, 1, 2)
            parts.append(encoder.upper_stages(few).bfloat16())
    return torch.cat(parts)


def _as_grid(tokens: Tensor) -> np.ndarray:
    side = round(tokens.shape[1] ** 0.5)
    return tokens.half().unflatten(1, (side, side)).numpy()
