"""The frozen encoder's tokens of every cached view, so that no run computes them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.training.features import CachedShard


@torch.inference_mode()
def with_tokens(
    shards: Sequence[CachedShard],
    encoder: EfficientNetLite,
    folder: Path,
    report: Callable[[str], None] = print,
) -> list[CachedShard]:
    """The shards with the grid of the encoder's last layer, ``[N, 9, 9, C]`` float16, in place of their maps.

    What training mirrors is then the grid of tokens, not the map below: the encoder's strided layers make of the two
    nearly the same.

    Args:
        shards: Cached shards.
        encoder: The one that every run starts from and keeps frozen.
        folder: Where the tokens are kept, each view whole or not at all; what is there is taken.
        report: Receives a line for each shard that was computed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for shard in shards:
        views = []
        for number, maps in enumerate(shard.maps):
            path = folder / f"{shard.name}.view{number}.npy"
            if not path.exists():
                _keep(path, maps, encoder)
                report(f"tokens: {path.stem}")
            views.append(np.load(path, mmap_mode="r"))
        changed.append(replace(shard, maps=views))
    return changed


def _keep(path: Path, maps: np.ndarray, encoder: EfficientNetLite) -> None:
    tokens: list[np.ndarray] = []
    for start in range(0, len(maps), 8):
        # bfloat16, as training steps of the shipped model compute it.
        with torch.autocast("cpu", torch.bfloat16):
            found = encoder.crown(torch.from_numpy(maps[start : start + 8].copy()).float().permute(0, 3, 1, 2))
        tokens.append(found.float().numpy().astype(np.float16))
    grid = np.concatenate(tokens)
    side = round(grid.shape[1] ** 0.5)
    part = path.with_suffix(".part")
    with part.open("wb") as handle:
        np.save(handle, grid.reshape(len(grid), side, side, -1))
    part.replace(path)
