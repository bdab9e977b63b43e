"""The protocol of the miniature, fixed before its first run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anytag.foundations.settings import Settings

#: The paradigms and what is written of them: the papers' three, and the two rivals of their second table.
Paradigm = Literal["alignment", "captioning", "tagging", "supervised", "transfer"]
PARADIGMS: tuple[Paradigm, ...] = ("alignment", "captioning", "tagging", "supervised", "transfer")

#: The human labels that the COCO pictures come with.
CATEGORIES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse",
)  # fmt: skip


class MiniatureConfig(Settings):
    """What all runs have in common.

    Attributes:
        train: Shards whose captions are learned from.
        choose: Shards that thresholds are fitted on.
        report: Shards that are judged once.
        world: Shards of pictures with one word each, of collections unlike COCO: seven in eight may be trained on, the
            rest are judged.
        budget: Pictures that a run sees in training, repeated ones included. Processor time would be the other way to
            be fair; it depends on the machine and on what else that does, and no run could be repeated exactly.
        seeds: Runs of each paradigm.
        width: Of all decoders and embeddings.
        heads: Attention heads.
        batch_size: Pictures a step.
        contrast_size: The same where pictures and texts are told apart by contrast, whose steps are short.
        min_support: Training pictures that a tag needs.
        negatives: Tags that a step asks for beside its own.
        hidden_tags: Tags that no list of tags holds in training; captions keep naming them.
        hidden_support: Training pictures that such a tag is true of, at least, so that it occurs among the judged ones.
        hidden_classes: Classes of ``world`` whose pictures nobody is trained on.
        learning_rate: The highest; warmed up over a twentieth of the steps, then down a cosine.
        weight_decay: Of AdamW.
        limit: Only so many pictures of each shard, for a quick look.
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
