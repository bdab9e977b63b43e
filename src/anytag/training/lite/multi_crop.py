"""What a picture's corners show: targets for the objects that its captions leave out.

Captions name what matters, not the car at the curb. A model that was taught by them finds more of it when it looks at
parts of a picture, where small things are large: RAM's data engine asks the current model for the missing tags (RAM
section 3.4); here it answers from the whole and its four corners, and what it says becomes the target of further
training. A scene, an attribute or an action is not judged from a part.
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


class CornerTargets:
    """Logits of some tags for all training pictures, from the whole and its corners.

    Args:
        logits: ``[pictures, taught tags]``.
        taught: Vocabulary ids of the columns.
        tags: Size of the vocabulary.
    """

    def __init__(self, logits: np.ndarray, taught: Sequence[int], tags: int):
        self._logits = torch.from_numpy(logits)
        self._columns = torch.full((tags,), -1)
        self._columns[torch.tensor(taught)] = torch.arange(len(taught))

    def of(self, pictures: np.ndarray, tag_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[B, K]`` of the K taught ones among ``tag_ids`` ``[T]``, and which those are, ``[T]`` of bool."""
        columns = self._columns[tag_ids]
        known = columns >= 0
        return self._logits[torch.from_numpy(pictures)][:, columns[known]].float(), known


def taught_tags(vocabulary: TagVocabulary, support: int) -> list[int]:
    """Ids of the objects that at least so many training pictures showed: of them the model can be asked."""
    return [tag.id for tag in vocabulary if tag.kind == "object" and (tag.support or 0) >= support]


@torch.inference_mode()
def corner_logits(
    model: RecognitionModel,
    shards: Sequence[CachedShard],
    taught: Sequence[int],
    folder: Path,
    report: Report,
) -> np.ndarray:
    """The targets of :class:`CornerTargets`, kept shard by shard; a second call takes up what is there.

    The mean of the whole picture's logit and of the logarithm of the corners' mean odds.

    Args:
        model: The teacher; it is left in eval mode.
        shards: With cached corners.
        taught: Ids of the tags to score.
        folder: Where to keep them.
        report: Receives a line of progress after each shard.

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
    found = []
    with autocast("cpu"):
        for start in range(0, len(maps), 8):
            chosen = torch.from_numpy(maps[start : start + 8].copy()).float().permute(0, 3, 1, 2)
            features = model.features(model.image_encoder.upper_stages(chosen))
            found.append(model.recognition_decoder(features, queries).float())
    return torch.cat(found)
