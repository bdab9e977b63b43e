"""Random access to the pictures of WebDataset shards, for end-to-end training."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from anytag.pictures import read_picture, to_pixels
from anytag.pictures.formats import has_picture_extension
from anytag.training.lite.feature_cache import augment, normalise


class PictureReader:
    """Pictures of uncompressed shards by number, in the order of :func:`~anytag.datasets.webdataset.read_shard`.

    Args:
        shards: Tar files.
        resolution: Side of the square that pictures are squashed to.
        seed: Seed of the augmentation.
        workers: Threads that decode.
    """

    def __init__(self, shards: Sequence[Path], resolution: int, seed: int, workers: int = 2):
        self.resolution, self.seed = resolution, seed
        self._places: list[tuple[Path, int, int]] = []
        for shard in shards:
            with tarfile.open(shard, "r:") as archive:
                self._places += [
                    (shard, member.offset_data, member.size) for member in archive if has_picture_extension(member.name)
                ]
        self._pool = ThreadPoolExecutor(workers)

    def __len__(self) -> int:
        return len(self._places)

    def batch(self, indices: Sequence[int] | np.ndarray, step: int | None = None) -> torch.Tensor:
        """Pictures as the encoder's input ``[B, 3, R, R]``.

        Args:
            indices: Which pictures.
            step: Augment them; the same step gives the same augmentation. ``None``: as they are.
        """
        rows = self._pool.map(lambda index: self._pixels(int(index), step), indices)
        return normalise(np.stack(list(rows)))

    def _pixels(self, index: int, step: int | None) -> np.ndarray:
        shard, offset, size = self._places[index]
        with shard.open("rb") as handle:
            handle.seek(offset)
            picture = read_picture(handle.read(size))
        if step is not None:
            picture = augment(picture, random.Random(f"{self.seed}/{step}/{index}"))
        return to_pixels(picture, self.resolution)
