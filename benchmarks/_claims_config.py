"""The papers' claims as runs that differ in one thing: settings, arms, and which arm should win in which metric."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from anytag.model.config import CaptionerConfig, DecodingConfig, ModelConfig, RecognitionConfig
from anytag.training.recipes.config import (
    SENTENCE_ENCODER,
    LiteConfig,
    TeacherConfig,
    TrainingConfig,
    TrainingStage,
    VocabularyConfig,
)

#: Human-labeled categories of the validation pictures, for mean average precision.
CATEGORIES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse",
)  # fmt: skip

_TAGS_ALONE = {"captioning": 0.0}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Setting(_Part):
    """A way of training; claims with the same setting share its runs.

    Attributes:
        name: Name of the runs' folders.
        loss: Changes to the common loss weights.
        queries: ``text``: a tag is asked for by its text alone (RAM); ``text_and_own``: by its text and a learned
            offset (the shipped model); ``learned``: by a learned vector (Tag2Text).
        distillation: Distill the ImageNet classifier's predictions into the feature of the whole picture.
        hold_out: Hide some tags from training, in all pictures.
        manifest: Train on the data engine's pictures, with the tags and captions of this manifest.
        same_time: Train for the common time instead of the common number of steps.
    """

    name: str
    loss: dict[str, float] = {}
    queries: Literal["text_and_own", "text", "learned"] = "text_and_own"
    distillation: bool = False
    hold_out: bool = False
    manifest: Literal["parsed", "generated", "cleaned"] | None = None
    same_time: bool = False


class ClaimsConfig(_Part):
    """Settings shared by all runs.

    Attributes:
        training: Data, model, schedule and loss; seed and number of steps are set for each run.
        held_out: Number of tags to hide from training in settings with ``hold_out``.
        held_out_support: Minimum number of validation pictures whose captions mention such a tag.
        distillation: Weight of the distillation loss.
        engine: Shards that the data engine processes and its settings train on.
        calibration: Training shards to fit the engine model's thresholds on; none of ``engine``.
        generated: Maximum number of tags that the engine's model adds to a picture, because after a few minutes of
            training its scores are unreliable. (RAM's engine went from 3 tags per picture to 10.)
        limit: Maximum number of pictures from the engine's first shard and from each validation shard, for a quick
            run: at least a batch and at most a shard.
        categories: Human-labeled categories of the validation pictures, for mean average precision.
    """

    training: TrainingConfig
    held_out: int = 200
    held_out_support: int = 5
    distillation: float = 1.0
    engine: tuple[str, ...] = ("coco20k/coco20k-00000[0-2].tar", "flickr8k/flickr8k-train-000000.tar")
    calibration: tuple[str, ...] = ("coco20k/coco20k-000018.tar", "flickr8k/flickr8k-train-000005.tar")
    generated: int = 15
    limit: int | None = None
    categories: tuple[str, ...] = CATEGORIES


def default_config(limit: int | None = None) -> ClaimsConfig:
    """The settings behind the documented results.

    Half the size of the shipped model, and tags only that twenty pictures support: the papers' claims are about
    training, and most runs end before a rare tag has been seen twice.
    """
    return ClaimsConfig(
        limit=limit,
        training=TrainingConfig(
            name="claims",
            model=ModelConfig(
                name="claims",
                width=192,
                # The classifier would blur the differences between settings.
                class_support=0,
                recognition=RecognitionConfig(layers=2, heads=4, inner=384, dropout=0.0),
                captioner=CaptionerConfig(layers=2, heads=4, inner=768, attention_dropout=0.0),
                decoding=DecodingConfig(num_beams=1),
            ),
            sources=("coco20k/*.tar", "flickr8k/flickr8k-train-*.tar"),
            validation=("coco20k/coco20k-000019.tar", "flickr8k/flickr8k-dev-*.tar"),
            vocabulary=VocabularyConfig(read="captions", min_support=20, imagenet=True),
            teacher=TeacherConfig(texts=SENTENCE_ENCODER),
            views=2,
            objective=LiteConfig(texts=0.0, alignment=0.0, distillation=0.0),
            encoder_weight_decay=0.0,
            stages=(TrainingStage(name="all", epochs=1, learning_rate=1e-3, warmup=50, cached="maps"),),
            # In a few minutes, twice as many steps with half the batch learn more.
            batch_size=32,
            text_batch_size=0,
            ema_decay=0.995,
            save_every=100,
            log_every=20,
            validate_every=1_000_000,
        ),
    )


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(name="joint"),
        Setting(name="unguided", loss={"no_tags": 1.0, "found_tags": 0.0}),
        Setting(name="alone", loss=_TAGS_ALONE),
        Setting(name="alone_longer", loss=_TAGS_ALONE, same_time=True),
        Setting(name="aligned", loss=_TAGS_ALONE | {"alignment": 1.0}),
        Setting(name="learned", loss=_TAGS_ALONE, queries="learned", hold_out=True),
        Setting(name="text", loss=_TAGS_ALONE, queries="text", hold_out=True),
        Setting(name="text_and_own", loss=_TAGS_ALONE, hold_out=True),
        Setting(name="text_distilled", loss=_TAGS_ALONE, queries="text", hold_out=True, distillation=True),
        Setting(name="parsed", manifest="parsed"),
        Setting(name="generated", manifest="generated"),
        Setting(name="cleaned", manifest="cleaned"),
    )
}


class Arm(_Part):
    """A row of a claim's table.

    Attributes:
        setting: Setting of its runs.
        figures: Metrics of a run by table column.
    """

    setting: str
    figures: dict[str, str]


class Comparison(_Part):
    """A claim that one arm is better than another in a column."""

    column: str
    better: str
    worse: str


class Claim(_Part):
    """A claim and the comparisons that test it."""

    title: str
    arms: dict[str, Arm]
    comparisons: tuple[Comparison, ...]
    note: str = ""


_TAGS = {"mAP": "map", "F1, COCO": "f1_coco", "F1, Flickr8k": "f1_flickr"}
_RECALL = {f"{what} R@{k}": f"{what}_recall_{k}" for what in ("text", "picture") for k in (1, 5, 10)}
_UNSEEN = {
    "unseen tags, AP": "ap_unseen",
    "chance": "chance_unseen",
    "unseen, no ImageNet class, AP": "ap_unseen_new",
    "chance (no class)": "chance_unseen_new",
    "seen tags, AP": "ap_seen",
}


def _compare(columns: tuple[str, ...], *pairs: tuple[str, str]) -> tuple[Comparison, ...]:
    return tuple(Comparison(column=c, better=better, worse=worse) for better, worse in pairs for c in columns)


CLAIMS = {
    "guidance": Claim(
        title="(a) Captions guided by tags",
        note="Flickr8k dev, every other picture. Given tags are those of a picture's first human caption; captions "
        "guided by them, and unguided ones, are compared with the other four.",
        arms={
            "guided by the tags found": Arm(
                setting="joint", figures={"CIDEr-D": "cider_found", "BLEU-4": "bleu_found"}
            ),
            "the same model, unguided": Arm(
                setting="joint",
                figures={"CIDEr-D": "cider_free", "BLEU-4": "bleu_free", "CIDEr-D, four references": "cider_free_four"},
            ),
            "the same model, given tags": Arm(setting="joint", figures={"CIDEr-D, four references": "cider_given"}),
            "trained without guidance": Arm(
                setting="unguided",
                figures={"CIDEr-D": "cider_free", "BLEU-4": "bleu_free", "CIDEr-D, four references": "cider_free_four"},
            ),
        },
        comparisons=(
            *_compare(
                ("CIDEr-D",),
                ("guided by the tags found", "the same model, unguided"),
                ("guided by the tags found", "trained without guidance"),
            ),
            *_compare(("CIDEr-D, four references",), ("the same model, given tags", "trained without guidance")),
        ),
    ),
    "joint": Claim(
        title="(b) Tagging together with captioning",
        arms={
            "tagging alone": Arm(setting="alone", figures=_TAGS),
            "tagging alone, as long": Arm(setting="alone_longer", figures=_TAGS),
            "with captioning": Arm(setting="joint", figures=_TAGS),
        },
        comparisons=_compare(
            tuple(_TAGS), ("with captioning", "tagging alone"), ("with captioning", "tagging alone, as long")
        ),
    ),
    "queries": Claim(
        title="(c) Textual queries and distillation against learned queries",
        note="All without captioning, which would reveal the hidden tags' names. Average precision of hidden tags is "
        "the mean over these tags on all validation pictures, with their captions as the truth; chance is the "
        "frequency of a tag. The teacher knows the ImageNet classes, so hidden tags without such a class are given "
        "separately.",
        arms={
            "learned queries": Arm(setting="learned", figures=_TAGS | _UNSEEN),
            "textual queries": Arm(setting="text", figures=_TAGS | _UNSEEN),
            "textual queries with learned offsets": Arm(setting="text_and_own", figures=_TAGS | _UNSEEN),
            "textual queries, distillation": Arm(setting="text_distilled", figures=_TAGS | _UNSEEN),
        },
        comparisons=(
            *_compare(("unseen tags, AP", "mAP", "F1, COCO", "F1, Flickr8k"), ("textual queries", "learned queries")),
            *_compare(
                ("unseen tags, AP", "unseen, no ImageNet class, AP", "mAP", "F1, Flickr8k"),
                ("textual queries, distillation", "textual queries"),
            ),
        ),
    ),
    "engine": Claim(
        title="(d) The data engine",
        note="All three on the engine's own pictures, a fraction of the training set. One model (parsed tags, seed 0, "
        "the same budget) generated and cleaned for all seeds; as in the shipped one, the image encoder's classifier "
        "contributes to its tags, with a weight fitted by calibration.",
        arms={
            "parsed": Arm(setting="parsed", figures=_TAGS | {"CIDEr-D": "cider_found", "tags a picture": "tags"}),
            "+ generated": Arm(
                setting="generated", figures=_TAGS | {"CIDEr-D": "cider_found", "tags a picture": "tags"}
            ),
            "+ cleaned": Arm(setting="cleaned", figures=_TAGS | {"CIDEr-D": "cider_found", "tags a picture": "tags"}),
        },
        comparisons=_compare((*_TAGS, "CIDEr-D"), ("+ generated", "parsed"), ("+ cleaned", "+ generated")),
    ),
    "alignment": Claim(
        title="(e) Alignment of whole captions by the recognition decoder",
        note="Flickr8k dev: every picture against the five captions of each. Without the alignment loss, a caption is "
        "scored like a tag.",
        arms={
            "without": Arm(setting="alone", figures=_RECALL | _TAGS),
            "with": Arm(setting="aligned", figures=_RECALL | _TAGS),
        },
        comparisons=_compare(("text R@1", "picture R@1", *_TAGS), ("with", "without")),
    ),
}
