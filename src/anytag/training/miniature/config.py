"""The protocol of the miniature, fixed before its first run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anytag.foundations.settings import Settings

#: The papers' three paradigms, and the two rivals of their second table.
Paradigm = Literal["alignment", "captioning", "tagging", "supervised", "transfer"]
PARADIGMS: tuple[Paradigm, ...] = ("alignment", "captioning", "tagging", "supervised", "transfer")

#: Human labels of the COCO pictures.
CATEGORIES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse",
)  # fmt: skip


class MiniatureConfig(Settings):
    """Settings of all runs.

    Attributes:
        train: Training shards with captions.
        choose: Shards that thresholds are fitted on.
        report: Shards for the reported figures.
        world: Shards of pictures with one word each, of collections unlike COCO: seven in eight pictures are for
            training, the rest for the figures.
        budget: Training pictures of a run, repeated ones included. Processor time would be fair, too, but it depends
            on the machine and its load, and no run could be repeated exactly.
        width: Width of all decoders and embeddings.
        contrast_size: Pictures per step of contrastive training, whose steps are short.
        min_support: Minimum number of training pictures of a tag.
        negatives: Tags that a step scores beside those of its pictures.
        hidden_tags: Tags that are left out of training targets; captions keep naming them.
        hidden_support: Minimum number of training pictures of a hidden tag, so that it occurs in ``report``.
        hidden_classes: Classes of ``world`` whose pictures are left out of training.
        learning_rate: Maximum, after a linear warm-up over a twentieth of the steps; then a cosine decay.
        limit: Maximum number of pictures of each shard, for a quick test.
    """

    train: tuple[str, ...] = tuple(f"coco20k/coco20k-{shard:06d}.tar" for shard in range(18))
    choose: tuple[str, ...] = ("coco20k/coco20k-000018.tar",)
    report: tuple[str, ...] = ("coco_report/coco_report-*.tar",)
    world: tuple[str, ...] = ("world/world-*.tar",)
    budget: int = Field(36_000, ge=1)
    seeds: tuple[int, ...] = (0, 1, 2)
    width: int = 192
    heads: int = 4
    batch_size: int = 64
    contrast_size: int = 256
    min_support: int = 10
    negatives: int = 150
    hidden_tags: int = 50
    hidden_support: int = 100
    hidden_classes: int = 50
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    limit: int | None = None
