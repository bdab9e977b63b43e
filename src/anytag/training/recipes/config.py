"""Config of a training run, as a recipe returns it: data, model, objective and stages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from anytag.foundations.settings import Settings, Size
from anytag.model.config import ModelConfig
from anytag.nn.momentum import MomentumConfig
from anytag.training.engine.config import LoopConfig, LoopStage

#: Argument of :func:`~anytag.datasets.opening.open_source`; paths are relative to the data folder. The key ``manifest``
#: names the folder of a data engine's manifest, whose tags and captions replace the source's own.
SourceSpec = str | dict[str, Any]

#: Selects the sentence encoder of the ``lite`` models in place of a CLIP directory.
SENTENCE_ENCODER = "all-MiniLM-L6-v2"

#: In (0, 1].
Share = Annotated[float, Field(gt=0, le=1)]


class AugmentationConfig(Settings):
    """Augmentation of training pictures; defaults of the official code.

    Attributes:
        crop: Minimum and maximum share of the picture's area in a random crop; ``None``: the whole picture.
        aspect: Minimum and maximum aspect ratio of the crop, width by height.
        flip: Probability of mirroring.
        operations: Number of RandAugment operations.
        magnitude: Their magnitude, from 0 to 10.
        omission: Probability that a sampled operation is skipped.
    """

    crop: tuple[Share, Share] | None = (0.2, 1.0)
    aspect: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    flip: float = Field(default=0.5, ge=0, le=1)
    operations: int = Field(default=2, ge=0, le=100)
    magnitude: float = Field(default=5.0, ge=0, le=10)
    omission: float = Field(default=0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _least_first(self) -> AugmentationConfig:
        for name, pair in (("crop", self.crop), ("aspect", self.aspect)):
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{name} goes from {pair[0]:g} up to {pair[1]:g}; give the smaller number first")
        return self


class ObjectiveConfig(Settings):
    """Settings of all objectives. A weight of 0 turns a part off.

    Attributes:
        gamma_negative: Focusing of the tagging loss on negatives.
        gamma_positive: Focusing on positives.
        clip: Probability margin of negatives.
        tagging: Weight of tagging, after rescaling to the caption loss if there is one.
    """

    gamma_negative: float = Field(default=7.0, ge=0)
    gamma_positive: float = Field(default=0.0, ge=0)
    clip: float = Field(default=0.05, ge=0, lt=1)
    tagging: float = Field(default=1.0, ge=0)


class CaptioningConfig(ObjectiveConfig):
    """Settings of objectives with captioning.

    Attributes:
        label_smoothing: Label smoothing of the caption loss.
        official: Train as the official code does: captions have no prompt, yet as many tokens as the prompt has are
            left out of the loss, so the first three word pieces of captions are never trained.
    """

    captioning: float = Field(default=1.0, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    official: bool = False


class Tag2TextConfig(CaptioningConfig):
    """Settings of :class:`~anytag.training.families.objectives.Tag2TextObjective`.

    Attributes:
        contrast: Weight of the image–text contrast (ITC).
        matching: Weight of image–text matching (ITM).
    """

    contrast: float = Field(default=1.0, ge=0)
    matching: float = Field(default=1.0, ge=0)


class RamConfig(CaptioningConfig):
    """Settings of :class:`~anytag.training.families.objectives.RamObjective`.

    Attributes:
        distillation: Weight of the distance to CLIP's picture embedding.
    """

    distillation: float = Field(default=1.0, ge=0)


class RamPlusConfig(ObjectiveConfig):
    """Settings of :class:`~anytag.training.families.objectives.RamPlusObjective`.

    Attributes:
        distillation: Weight of the distance to CLIP's picture embedding.
        alignment: Weight of the texts' scores.
        alignment_gamma_negative: Focusing of the alignment loss on texts of other pictures.
    """

    distillation: float = Field(default=1.0, ge=0)
    alignment: float = Field(default=1.0, ge=0)
    alignment_gamma_negative: float = Field(default=4.0, ge=0)


class LiteConfig(ObjectiveConfig):
    """Settings of :class:`~anytag.training.lite.objective.LiteObjective`, which trains the shipped family.

    Tagging and alignment are rescaled to the caption loss, if there is one, before weighting.

    Attributes:
        label_smoothing: Label smoothing of the caption loss.
        texts: Weight of captions without pictures.
        alignment: Weight of the texts' scores (RAM++).
        alignment_gamma_negative: Focusing of the alignment loss on texts of other pictures.
        distillation: Weight of the distance to the predictions of the image encoder's own classifier before training.
        consensus: Weight of the reward for captions that agree with a picture's references
            (:mod:`anytag.training.lite.consensus`).
        samples: Captions sampled for it per picture.
        corners: Weight of the distance to the model's predictions for pictures and their corners before the stage
            (:mod:`anytag.training.lite.multi_crop`).
        corner_support: Minimum number of pictures of an object that corners are searched for.
        token_dropout: Share of a picture's tokens that are hidden from recognition decoder and captioner.
        negatives: Tags that a batch scores beside those of its pictures.
        no_tags: Share of captions that are trained without tags.
        found_tags: Share of captions that are guided by predicted tags; the others are guided by their own.
        found_most: Maximum number of predicted tags.
        guide_support: Minimum number of pictures of a tag that guides captions, if a stage reads cached recognition.
        caption_tokens: Maximum length of captions.
        tag_tokens: Maximum length of tag lists, which are cut between tags.
    """

    captioning: float = Field(default=1.0, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    texts: float = Field(default=0.5, ge=0)
    alignment: float = Field(default=0.25, ge=0)
    alignment_gamma_negative: float = Field(default=4.0, ge=0)
    distillation: float = Field(default=0.5, ge=0)
    consensus: float = Field(default=0.0, ge=0)
    samples: int = Field(default=5, ge=2)
    corners: float = Field(default=0.0, ge=0)
    corner_support: int = Field(default=50, ge=1)
    token_dropout: float = Field(default=0.0, ge=0, lt=1)
    negatives: int = Field(default=128, ge=1)
    no_tags: float = Field(default=0.15, ge=0, le=1)
    found_tags: float = Field(default=0.45, ge=0, le=1)
    found_most: int = Field(default=14, ge=3)
    guide_support: int = Field(default=8, ge=1)
    caption_tokens: int = Field(default=26, ge=3)
    tag_tokens: int = Field(default=32, ge=2)


AnyObjectiveConfig = Tag2TextConfig | RamConfig | RamPlusConfig | LiteConfig


class VocabularyConfig(Settings):
    """The model's tags.

    Attributes:
        tags: A ``vocabulary.json``, or a text file with one name per line (``ram_tag_list.txt``); ``None``: the tags of
            the data.
        change: How to change the tags of the model that a run starts from, by name and kind: ``keep`` them, ``add``
            others, or ``replace`` them.
        read: Source of the data's tags: names in the data, as they are (``tags``); captions, whose tags are normalized
            by the package's tables (``captions``); or both.
        min_support: Minimum number of pictures of a tag of the data.
        max_tags: Maximum number of tags from captions.
        imagenet: Include the 1,000 classes of ImageNet, which an image encoder's own classifier predicts.
    """

    tags: str | None = None
    change: Literal["keep", "add", "replace"] = "keep"
    read: Literal["tags", "captions", "both"] = "both"
    min_support: int = Field(default=1, ge=1)
    max_tags: int | None = Field(default=None, ge=1)
    imagenet: bool = False


class TeacherConfig(Settings):
    """Teacher of pictures, and encoder of texts.

    Attributes:
        clip: A CLIP directory as ``transformers`` saves it; its text encoder embeds tags and captions, its image
            encoder is the teacher.
        cached: A folder of :func:`~anytag.training.families.teachers.cache_teacher`, in place of CLIP's image encoder.
        texts: Another CLIP directory for texts, or :data:`SENTENCE_ENCODER`; ``None``: as ``clip``.
        descriptions: A file of ``anytag vocabulary describe``, for RAM++; ``None``: templates.
        classifier_threshold: Minimum probability at which the class predicted by the image encoder's own ImageNet
            classifier becomes a tag of the picture, for ``lite`` models.
    """

    clip: str | None = None
    cached: str | None = None
    texts: str | None = None
    descriptions: str | None = None
    classifier_threshold: float = Field(default=0.6, ge=0, le=1)


class StreamConfig(Settings):
    """How to read the data; see :class:`~anytag.datasets.stream.SampleStream`.

    Attributes:
        shuffle: ``true``: exactly, if every source is indexed; ``window``: within windows.
        window: Samples in a window.
        samples_per_epoch: Of all processes; required for streamed sources, whose length is unknown.
        threads: Decoding threads of each process; 0: decode in the training thread; ``None``: one per processor, at
            most 8.
        bad_share: Share of unreadable samples above which the run stops, after ``bad_minimum`` samples.
    """

    shuffle: bool | Literal["window"] = True
    window: int = Field(default=1024, ge=1)
    samples_per_epoch: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=0, le=256)
    bad_share: float = Field(default=0.01, ge=0, le=1)
    bad_minimum: int = Field(default=200, ge=1)


#: Metrics of validation (:mod:`anytag.training.families.validation`): first those to maximize, then losses.
Figure = Literal[
    "map", "label_map", "f1", "cider", "text_recall_1", "text_recall_5", "picture_recall_1", "picture_recall_5",
    "tagging", "captioning", "contrast", "matching", "distillation", "alignment",
]  # fmt: skip

#: Parameters of a ``lite`` model's captioner.
CAPTIONER = ("interaction_encoder.", "text_decoder.", "no_picture")


class TrainingStage(LoopStage):
    """A stage of a training run.

    Attributes:
        only: Trainable parameters, by the beginnings of their names (``label_queries.``,
            ``recognition_decoder.score``); empty: all.
        objective: The stage's own, of the same class as the run's; ``None``: the run's.
        drop_path: Stochastic depth of the image encoder, for encoders that were trained without it
            (EfficientNet-Lite); ``None``: that of the model.
        cached: What to read from the cache instead of computing it in every epoch. For :class:`LiteConfig`, ``maps``:
            feature maps of the lower image encoder, which is then frozen; ``recognition``: outputs of the whole
            recognizer at the beginning of the stage, so that only the captioner can be trained. For the others,
            ``tokens``: outputs of the whole image encoder, for stages before it is trained.
        views: Number of cached views to sample from (:class:`LiteConfig` only); ``None``: all of the run's.
        captions: Maximum number of a picture's captions in a step.
        several: Share of a batch that is sampled from the pictures with several captions.
    """

    only: tuple[str, ...] = ()
    objective: AnyObjectiveConfig | None = None
    drop_path: float | None = Field(default=None, ge=0, lt=1)
    cached: Literal["nothing", "maps", "recognition", "tokens"] = "nothing"
    views: int | None = Field(default=None, ge=1)
    captions: int = Field(default=1, ge=1)
    several: float = Field(default=0.0, ge=0, le=1)

    def trains(self, parameter: str) -> bool:
        """Whether the stage trains the parameter of that name of a :class:`~anytag.training.engine.task.Task`."""
        name = parameter.removeprefix("model.")
        if name.startswith("image_encoder.") and not self.encoder_learning_rate:
            return False
        return not self.only or name.startswith(self.only)


class TrainingConfig(LoopConfig):
    """A training run: pre-training, or fine-tuning from a model directory.

    Attributes:
        model: Config of a new model; a captioner's ``vocabulary`` is the tokenizer's size.
        start: The model directory to start from, with PyTorch weights; ``None``: a new model.
        resolution: Side of the pictures, if different from ``model`` or ``start``.
        drop_path: Of the image encoder, if different from ``model`` or ``start``.
        image_weights: ImageNet weights of the Swin (:func:`~anytag.checkpoints.swin.load_swin_backbone`); those of an
            EfficientNet-Lite come from a package (extra ``lite-sources``).
        text_weights: A directory of ``bert-base-uncased`` that initializes the text parts of a new model.
        validation: Validation data; shards that ``sources`` also name are not trained on.
        validation_pictures: Maximum number of validation pictures.
        texts: Files of captions without pictures, one per line, gzipped or not; patterns under the data folder.
        text_batch_size: Number of these per step.
        objective: The objective, which its class selects.
        views: Cached copies of each picture, for stages that read a cache: the original, and augmented ones.
        encoder_weight_decay: Of the image encoder's matrices; ``None``: as ``weight_decay``.
        pictures_per_loss: Tagging, and RAM++'s alignment, are sums over pictures, so their weight relative to
            distillation grows with the batch. They are rescaled to so many pictures (``None``: a whole batch),
            whatever the number of processes. Tagging beside captioning has the magnitude of captioning.
        momentum: Momentum encoder of Tag2Text's contrast.
        alignment_width: Embedding width of Tag2Text's contrast.
        tags: Which tags are a picture's targets; see :data:`~anytag.training.families.batches.TagSource`.
        parser: Parses captions without tags in the data; ``none``: do not parse.
        words: Maximum caption length, in words.
        recognized_share: Share of captions that are trained with the model's predicted tags in place of their own.
        recognized_threshold: Threshold of predicted tags.
        teacher: Teacher of pictures, and encoder of texts.
    """

    name: str
    model: ModelConfig | None = None
    start: str | None = None
    resolution: int | None = Field(default=None, ge=32, le=16_384)
    drop_path: float | None = Field(default=None, ge=0, lt=1)
    image_weights: str | None = None
    text_weights: str | None = None
    vocabulary: VocabularyConfig = VocabularyConfig()
    sources: tuple[SourceSpec, ...] = Field(min_length=1)
    validation: tuple[SourceSpec, ...] = ()
    validation_pictures: int = Field(default=1000, ge=1)
    texts: tuple[str, ...] = ()
    text_batch_size: int = Field(default=64, ge=0, le=1 << 20)
    objective: AnyObjectiveConfig
    views: int = Field(default=1, ge=1, le=1000)
    encoder_weight_decay: float | None = Field(default=None, ge=0)
    pictures_per_loss: int | None = Field(default=None, ge=1)
    momentum: MomentumConfig = MomentumConfig()
    alignment_width: Size = 256
    augmentation: AugmentationConfig = AugmentationConfig()
    tags: Literal["caption", "picture", "given"] = "picture"
    parser: Literal["auto", "light", "spacy", "none"] = "auto"
    words: int = Field(default=30, ge=1)
    recognized_share: float = Field(default=0.0, ge=0, le=1)
    recognized_threshold: float = Field(default=0.68, ge=0, le=1)
    teacher: TeacherConfig = TeacherConfig()
    stream: StreamConfig = StreamConfig()
    stages: tuple[TrainingStage, ...] = Field(min_length=1)
    best_metric: Figure | None = None

    @model_validator(mode="after")
    def _begins_somewhere(self) -> TrainingConfig:
        if (self.model is None) == (self.start is None):
            raise ValueError("give either model, the sizes of a new one, or start, a model directory")
        if misfit := self.model and self.model.misfit():
            raise ValueError(f"model: {misfit}")
        return self

    @model_validator(mode="after")
    def _objectives_agree(self) -> TrainingConfig:
        kind = type(self.objective)
        for number, stage in enumerate(self.stages):
            if stage.objective is not None and type(stage.objective) is not kind:
                raise ValueError(
                    f"stages.{number}.objective is a {type(stage.objective).__name__}, that of the run a "
                    f"{kind.__name__}; a run has one kind of objective"
                )
        return self

    @model_validator(mode="after")
    def _what_only_lite_reads(self) -> TrainingConfig:
        if isinstance(self.objective, LiteConfig):
            for number, stage in enumerate(self.stages):
                if stage.cached == "tokens":
                    raise ValueError(f"stages.{number}.cached=tokens does not apply to LiteConfig; use maps")
            return self
        reads_tokens = any(stage.cached == "tokens" for stage in self.stages)
        given = {"texts": bool(self.texts), "views without cached=tokens": self.views > 1 and not reads_tokens}
        for number, stage in enumerate(self.stages):
            given[f"stages.{number}.cached={stage.cached}"] = stage.cached not in ("nothing", "tokens")
            given[f"stages.{number}.views"] = stage.views is not None
            given[f"stages.{number}.captions"] = stage.captions > 1
            given[f"stages.{number}.several"] = stage.several > 0
        if names := [name for name, is_given in given.items() if is_given]:
            raise ValueError(f"{names[0]} applies to LiteConfig only, not to {type(self.objective).__name__}")
        return self

    @model_validator(mode="after")
    def _tokens_stay_as_they_are(self) -> TrainingConfig:
        is_trained = False
        for number, (stage, objective) in enumerate(zip(self.stages, self.objectives, strict=True)):
            is_trained = is_trained or stage.encoder_learning_rate > 0
            if stage.cached != "tokens":
                continue
            if is_trained:
                raise ValueError(f"stages.{number}.cached=tokens: the image encoder is trained in or before this stage")
            looking = [name for name in ("distillation", "contrast") if getattr(objective, name, 0)]
            if looking := looking + ["recognized_share"] * (self.recognized_share > 0):
                raise ValueError(f"stages.{number}.cached=tokens: {looking[0]} needs the pictures; set it to 0")
        return self

    @property
    def objectives(self) -> list[AnyObjectiveConfig]:
        """Objective of every stage."""
        return [stage.objective or self.objective for stage in self.stages]
