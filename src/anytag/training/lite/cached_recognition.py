"""Cached outputs of the recognizer for the training pictures, for stages that train the captioner alone.

While image encoder and recognition decoder are frozen, their outputs are computed once. All tags of the vocabulary are
scored, so that captions are guided in training by the same lists of tags as in use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anytag.evaluation.calibration import shifts_by_prevalence
from anytag.evaluation.ranking import best_common_threshold
from anytag.foundations.atomic_files import save_array
from anytag.foundations.log_odds import log_odds, sigmoid
from anytag.foundations.report import Report
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.model import RecognitionModel
from anytag.training.engine.autocast import autocast
from anytag.training.families.feature_cache import CachedShard
from anytag.training.lite.batches import PictureRecord

#: Maximum number of recognized tags per picture.
LONGEST = 16


@dataclass(frozen=True)
class CachedRecognition:
    """Features and recognized tags of the training pictures.

    Attributes:
        features: Per view and shard, ``[pictures, 1 + N, width]`` float16, memory-mapped.
        starts: Number of the first picture of each shard, then the number of pictures.
        found: Ids of the tags of each plain picture, the likeliest first, ``[pictures, LONGEST]``.
        margins: Their logits minus the common threshold, ``[pictures, LONGEST]``.
    """

    features: list[list[np.ndarray]]
    starts: np.ndarray
    found: np.ndarray
    margins: np.ndarray

    def features_of(self, pictures: np.ndarray, views: np.ndarray) -> Tensor:
        """Return features ``[B, 1 + N, width]`` float32 of pictures, each in one of its views."""
        shards = np.searchsorted(self.starts, pictures, side="right") - 1
        rows = [
            self.features[view][shard][picture - self.starts[shard]]
            for picture, view, shard in zip(pictures, views, shards, strict=True)
        ]
        return torch.from_numpy(np.stack(rows)).float()

    def list_of(self, picture: int, shift: float) -> list[int]:
        """Return the tags of a picture whose margin is above ``shift``, but at least the likeliest one."""
        count = max(1, int((self.margins[picture] > shift).sum()))
        return [int(id) for id in self.found[picture][:count]]


def cache_recognition(
    model: RecognitionModel,
    shards: Sequence[CachedShard],
    pictures: Sequence[PictureRecord],
    vocabulary: TagVocabulary,
    views: int,
    support: int,
    folder: Path,
    report: Report,
) -> CachedRecognition:
    """Compute features and recognized tags, stored by shard; a second call continues.

    Scores are calibrated as in :func:`~anytag.evaluation.calibration.calibrate`, but on the training pictures
    themselves: shifted by prevalence, with one threshold for the best micro-F1. Only tags with ``support`` training
    pictures are recognized. The model is left in eval mode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    ids = torch.tensor([tag.id for tag in vocabulary if tag.support >= support])
    with torch.inference_mode():
        queries = model.label_queries(ids)
        for view in range(views):
            for number, shard in enumerate(shards, 1):
                if not (folder / f"{shard.name}.view{view}.npy").exists():
                    _recognize(model, shard, view, None if view else queries, folder)
                    report(f"recognition: view {view}, shard {number}/{len(shards)} ({shard.name})")
    logits = np.concatenate([np.load(folder / f"{shard.name}.logits.npy") for shard in shards]).astype(np.float32)
    truth = np.stack([np.isin(ids.numpy(), picture.tags) for picture in pictures[::5]])
    prevalence = np.array([(vocabulary[int(i)].support + 0.5) / (len(pictures) + 1) for i in ids])
    # A fifth of the pictures suffices for the distribution of scores.
    shifts = shifts_by_prevalence(logits[::5].astype(np.float64), prevalence).astype(np.float32)
    threshold, _ = best_common_threshold(sigmoid(logits[::5] - shifts), truth)
    logits -= shifts + np.float32(log_odds(threshold))
    found = np.argsort(-logits, axis=1)[:, :LONGEST]
    margins = np.take_along_axis(logits, found, 1)
    starts = np.cumsum([0, *(len(shard.records) for shard in shards)])
    features = [[np.load(folder / f"{s.name}.view{view}.npy", mmap_mode="r") for s in shards] for view in range(views)]
    return CachedRecognition(features, starts, ids.numpy()[found], margins)


def _recognize(model: RecognitionModel, shard: CachedShard, view: int, queries: Tensor | None, folder: Path) -> None:
    features, logits = [], []
    for part in features_of_maps(model, shard.maps[view]):
        if queries is not None:
            with autocast("cpu"):
                logits.append(model.recognition_decoder(part, queries).half().numpy())
        features.append(part.half().numpy())
    # The features last: they mark both as done.
    if logits:
        save_array(folder / f"{shard.name}.logits.npy", np.concatenate(logits))
    save_array(folder / f"{shard.name}.view{view}.npy", np.concatenate(features))


def features_of_maps(model: RecognitionModel, maps: np.ndarray) -> Iterator[Tensor]:
    """Compute features ``[8, 1 + N, width]`` of cached maps ``[pictures, H, W, C]``, eight at a time."""
    for start in range(0, len(maps), 8):
        chosen = torch.from_numpy(maps[start : start + 8].copy()).float().permute(0, 3, 1, 2)
        with autocast("cpu"):
            features = model.features(model.image_encoder.upper_stages(chosen))
        yield features
