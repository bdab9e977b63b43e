"""Multi-crop pseudo-labels: targets for objects that captions do not mention.

Captions mention what matters, not the car at the curb. A model trained on them recognizes more small objects in crops.
Like RAM's data engine, which generates missing tags with the current model (RAM section 3.4), this module scores the
whole picture and its four corners, and the scores become targets of further training. Only objects are scored: a crop
does not show the scene, and attributes or actions cannot be judged from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anytag.foundations.atomic_files import save_array
from anytag.foundations.report import Report
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.model import RecognitionModel
from anytag.training.engine.autocast import autocast
from anytag.training.families.feature_cache import CachedShard
from anytag.training.lite.cached_recognition import features_of_maps


class CornerTargets:
    """Target logits ``[pictures, taught]`` of :func:`corner_logits`, for some ids of a vocabulary of ``tags`` tags."""

    def __init__(self, logits: np.ndarray, taught: Sequence[int], tags: int):
        self._logits = torch.from_numpy(logits)
        self._columns = torch.full((tags,), -1)
        self._columns[torch.tensor(taught)] = torch.arange(len(taught))

    def of(self, pictures: np.ndarray, tag_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``[B, K]`` of those among ``tag_ids`` ``[T]`` that have any, and their mask ``[T]``."""
        columns = self._columns[tag_ids]
        known = columns >= 0
        return self._logits[torch.from_numpy(pictures)][:, columns[known]].float(), known


def taught_tags(vocabulary: TagVocabulary, support: int) -> list[int]:
    """Return the ids of objects with at least ``support`` training pictures."""
    return [tag.id for tag in vocabulary if tag.kind == "object" and (tag.support or 0) >= support]


@torch.inference_mode()
def corner_logits(
    model: RecognitionModel,
    shards: Sequence[CachedShard],
    taught: Sequence[int],
    folder: Path,
    report: Report,
) -> np.ndarray:
    """Compute the targets of :class:`CornerTargets`, stored by shard; a second call continues.

    They are the mean of the whole picture's logit and the logarithm of the corners' mean odds. The model, the teacher,
    is left in eval mode.

    Returns:
        ``[pictures, len(taught)]`` float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    queries = model.label_queries(torch.tensor(taught))
    parts = []
    for number, shard in enumerate(shards, 1):
        kept = folder / f"{shard.name}.npy"
        if not kept.exists():
            whole = _logits(model, shard.maps[0], queries)
            corners = torch.stack([_logits(model, maps, queries) for maps in shard.corners])
            targets = (whole + corners.logsumexp(0) - np.log(len(corners))) / 2
            save_array(kept, targets.numpy().astype(np.float16))
            report(f"corners: shard {number}/{len(shards)} ({shard.name})")
        parts.append(np.load(kept))
    return np.concatenate(parts)


def _logits(model: RecognitionModel, maps: np.ndarray, queries: Tensor) -> Tensor:
    with autocast("cpu"):
        return torch.cat(
            [model.recognition_decoder(features, queries).float() for features in features_of_maps(model, maps)]
        )
