"""What a recipe returns: data, model, objective and course of a run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from anytag.foundations.settings import Settings, Size
from anytag.model.config import ModelConfig
from anytag.nn.momentum import MomentumConfig
from anytag.training.engine.config import LoopConfig, LoopStage

#: What :func:`~anytag.datasets.opening.open_source` opens; paths are relative to the data folder. With the key
#: ``manifest``, the folder of a manifest of the data engine, whose tags and captions then stand for the source's own.
SourceSpec = str | dict[str, Any]

#: Stands for the sentence encoder of the ``lite`` models where a CLIP directory is asked for as a text encoder.
SENTENCE_ENCODER = "all-MiniLM-L6-v2"

#: A part of a whole, which cannot be nothing.
Share = Annotated[float, Field(gt=0, le=1)]


class AugmentationConfig(Settings):
    """How a training picture is changed; the defaults are those of the official code.

    Attributes:
        crop: Least and largest share of the picture's area that is shown; ``None``: the whole picture.
        aspect: Narrowest and widest part, width by height, before it is squashed.
        flip: Probability of mirroring.
        operations: Operations drawn; 0: none.
        magnitude: Their strength, of 10.
        omission: Probability that an operation that was drawn is left out.
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
    """Settings that all objectives have. A weight of 0 switches a part off.

    Attributes:
        gamma_negative: Focusing of the tagging loss on negatives.
        gamma_positive: Focusing on positives.
        clip: Probability margin of negatives.
        tagging: Weight of tagging, after it was rescaled to the caption loss where there is one.
    """

    gamma_negative: float = Field(default=7.0, ge=0)
    gamma_positive: float = Field(default=0.0, ge=0)
    clip: float = Field(default=0.05, ge=0, lt=1)
    tagging: float = Field(default=1.0, ge=0)


class CaptioningConfig(ObjectiveConfig):
    """Settings of objectives that learn captions.

    Attributes:
        captioning: Weight of captioning.
        label_smoothing: Of the caption loss.
        official: Learn as the official code does: captions come without the prompt, and yet as many first tokens as
            the prompt has are not learned, so that the first three word pieces of every caption never are.
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

    Tagging and alignment are rescaled to the caption loss, where there is one, before they are weighted.

    Attributes:
        captioning: Weight of captioning.
        label_smoothing: Of the caption loss.
        texts: Weight of captions without pictures.
        alignment: Weight of the texts' scores (RAM++).
        alignment_gamma_negative: Focusing of the alignment loss on texts of other pictures.
        distillation: Weight of the distance to what the image encoder's own classifier said before the encoder was
            trained.
        consensus: Weight of the reward for agreeing with a picture's several references
            (:mod:`anytag.training.lite.consensus`).
        samples: Captions that are drawn for it, for each picture.
        corners: Weight of the distance to what the model found, before the stage, in pictures and their corners
            (:mod:`anytag.training.lite.multi_crop`).
        corner_support: Pictures that an object needs to be looked for in corners.
        token_dropout: Share of a picture's tokens that are hidden from recognition decoder and captioner.
        negatives: Tags that a batch asks for beside those that are true of its pictures.
        no_tags: Share of captions that are learned without tags.
        found_tags: Share of captions that are guided by the tags that the model finds; the others, by their own.
        found_most: Most tags of such a list.
        guide_support: Pictures that a tag needs to guide captions, where a stage reads cached recognition.
        caption_tokens: Captions are cut there.
        tag_tokens: Tag lists are cut there, between tags.
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


#: What is learned; the class says which objective it is.
AnyObjectiveConfig = Tag2TextConfig | RamConfig | RamPlusConfig | LiteConfig


class VocabularyConfig(Settings):
    """Which tags the model has.

    Attributes:
        tags: A ``vocabulary.json``, or a text file with a name a line (``ram_tag_list.txt``); ``None``: the tags of the
            data.
        change: What becomes of the tags of the model that a run starts from: ``keep``: they stay as they are; ``add``:
            the others join them; ``replace``: those that are not asked for disappear. Tags are told by name and kind.
        read: Where the tags of the data come from: names that the data give, taken as they are; captions, whose tags
            are folded by the package's tables; or both.
        min_support: Pictures that a tag of the data needs.
        max_tags: Most tags of captions.
        imagenet: Let the 1,000 classes of ImageNet in, whose names an image encoder's own classifier gives.
    """

    tags: str | None = None
    change: Literal["keep", "add", "replace"] = "keep"
    read: Literal["tags", "captions", "both"] = "both"
    min_support: int = Field(default=1, ge=1)
    max_tags: int | None = Field(default=None, ge=1)
    imagenet: bool = False


class TeacherConfig(Settings):
    """What the model is to resemble, and what embeds texts for it.

    Attributes:
        clip: A CLIP directory as ``transformers`` saves it; its text encoder embeds tags and captions, its image
            encoder is the teacher.
        cached: A folder of :func:`~anytag.training.families.teachers.cache_teacher`, in place of CLIP's image encoder.
        texts: Another CLIP directory for texts, or :data:`SENTENCE_ENCODER`; ``None``: as ``clip``.
        descriptions: A file of ``anytag vocabulary describe``, for RAM++; ``None``: templates.
        classifier_threshold: Probability from which on the class that the image encoder's own ImageNet classifier
            gives a picture is one of its tags, for ``lite`` models.
    """

    clip: str | None = None
    cached: str | None = None
    texts: str | None = None
    descriptions: str | None = None
    classifier_threshold: float = Field(default=0.6, ge=0, le=1)


class StreamConfig(Settings):
    """How the data are read; see :class:`~anytag.datasets.stream.SampleStream`.

    Attributes:
        shuffle: ``true``: exactly, where every source is indexed; ``window``: within windows.
        window: Samples of a window.
        samples_per_epoch: Of all processes; needed where sources are streamed, for they do not know how many they are.
        threads: That decode in each process; 0: the one that trains does; ``None``: one a processor, 8 at the most.
        bad_share: Share of unreadable samples above which the run stops, once ``bad_minimum`` have been seen.
    """

    shuffle: bool | Literal["window"] = True
    window: int = Field(default=1024, ge=1)
    samples_per_epoch: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=0, le=256)
    bad_share: float = Field(default=0.01, ge=0, le=1)
    bad_minimum: int = Field(default=200, ge=1)


#: What validation may measure (:mod:`anytag.training.families.validation`): the higher the better, then losses.
Figure = Literal[
    "map", "label_map", "f1", "cider", "text_recall_1", "text_recall_5", "picture_recall_1", "picture_recall_5",
    "tagging", "captioning", "contrast", "matching", "distillation", "alignment",
]  # fmt: skip

#: The captioner's own parts of a ``lite`` model.
CAPTIONER = ("interaction_encoder.", "text_decoder.", "no_picture")


class TrainingStage(LoopStage):
    """A stage of such a run.

    Attributes:
        only: Parts of the model that learn, by the beginnings of their parameters' names (``label_queries.``,
            ``recognition_decoder.score``); none: all.
        objective: The stage's own, of the same class as the run's; ``None``: the run's.
        drop_path: Probability of leaving a residual branch of the image encoder out, for encoders that learned without
            (EfficientNet-Lite); ``None``: that of the model.
        cached: What is read from the cache instead of being computed in every epoch. For :class:`LiteConfig`,
            ``maps``: what the lower image encoder makes of the pictures, which stays as it is then; ``recognition``:
            what the whole recognizer makes of them when the stage begins, so that the captioner alone can learn. For
            the others, ``tokens``: what the whole image encoder makes of them, for stages before it is trained.
        views: Draw from the first so many cached views (:class:`LiteConfig` only); ``None``: from all of the run's.
        captions: Captions of a picture that one step learns, where it has as many.
        several: Share of a batch that is drawn from the pictures with several captions.
    """

    only: tuple[str, ...] = ()
    objective: AnyObjectiveConfig | None = None
    drop_path: float | None = Field(default=None, ge=0, lt=1)
    cached: Literal["nothing", "maps", "recognition", "tokens"] = "nothing"
    views: int | None = Field(default=None, ge=1)
    captions: int = Field(default=1, ge=1)
    several: float = Field(default=0.0, ge=0, le=1)

    def trains(self, parameter: str) -> bool:
        """Whether the stage changes a parameter of a :class:`~anytag.training.engine.task.Task`, by its name."""
        name = parameter.removeprefix("model.")
        if name.startswith("image_encoder.") and not self.encoder_learning_rate:
            return False
        return not self.only or name.startswith(self.only)


class TrainingConfig(LoopConfig):
    """A whole run: pre-training, or fine-tuning from a model directory.

    Attributes:
        name: Of the model.
        model: Its sizes, for a new one; a captioner's ``vocabulary`` is that of the tokenizer.
        start: The model directory to start from, with PyTorch weights; ``None``: a new model.
        resolution: Side of the pictures, if it is not that of ``model`` or ``start``.
        drop_path: Of the image encoder, if it is not that of ``model`` or ``start``.
        image_weights: ImageNet weights of the Swin (:func:`~anytag.checkpoints.swin.load_swin_backbone`); those of an
            EfficientNet-Lite come from a package (extra ``lite-sources``).
        text_weights: A directory of ``bert-base-uncased``, that the text parts of a new model begin as.
        vocabulary: Tags.
        sources: Training data.
        validation: Data that are never trained on: shards that ``sources`` name as well are left out there.
        validation_pictures: Most of them that are looked at.
        texts: Files of captions without pictures, a line each, gzipped or not; patterns under the data folder.
        text_batch_size: Of those, so many a step.
        objective: What is learned; its class says which objective it is.
        views: Cached copies of each picture, for stages that read a cache: the plain one, and augmented ones.
        encoder_weight_decay: Of the image encoder's matrices; ``None``: as ``weight_decay``.
        pictures_per_loss: Tagging, and RAM++'s alignment, are sums over pictures, so that they count for more against
            distillation where those are many. They are brought to what so many pictures give (``None``: a whole batch),
            however many processes share it. Tagging beside captioning has the magnitude of captioning.
        momentum: Of Tag2Text's contrast.
        alignment_width: Of Tag2Text's contrast.
        augmentation: Of training pictures.
        tags: Which tags a picture is taught; see :data:`~anytag.training.families.batches.TagSource`.
        parser: Reads captions whose tags the data do not give; ``none``: nobody does.
        words: Longest caption, in words.
        recognized_share: Share of captions that learn with the tags that the model itself finds in the picture, in
            place of their own.
        recognized_threshold: Score from which on it has found one.
        teacher: Of pictures and texts.
        stream: How data are read.
        stages: One after another.
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
                    raise ValueError(f"stages.{number}.cached=tokens is not of LiteConfig; let it read maps")
            return self
        reads_tokens = any(stage.cached == "tokens" for stage in self.stages)
        given = {"texts": bool(self.texts), "views without cached=tokens": self.views > 1 and not reads_tokens}
        for number, stage in enumerate(self.stages):
            given[f"stages.{number}.cached={stage.cached}"] = stage.cached not in ("nothing", "tokens")
            given[f"stages.{number}.views"] = stage.views is not None
            given[f"stages.{number}.captions"] = stage.captions > 1
            given[f"stages.{number}.several"] = stage.several > 0
        if names := [name for name, is_given in given.items() if is_given]:
            raise ValueError(f"{names[0]} is read by LiteConfig only, not by {type(self.objective).__name__}")
        return self

    @model_validator(mode="after")
    def _tokens_stay_as_they_are(self) -> TrainingConfig:
        is_trained = False
        for number, (stage, objective) in enumerate(zip(self.stages, self.objectives, strict=True)):
            is_trained = is_trained or stage.encoder_learning_rate > 0
            if stage.cached != "tokens":
                continue
            if is_trained:
                raise ValueError(f"stages.{number}.cached=tokens: the image encoder is trained by then")
            looking = [name for name in ("distillation", "contrast") if getattr(objective, name, 0)]
            if looking := looking + ["recognized_share"] * (self.recognized_share > 0):
                raise ValueError(f"stages.{number}.cached=tokens: {looking[0]} looks at the pictures; set it to 0")
        return self

    @property
    def objectives(self) -> list[AnyObjectiveConfig]:
        """That of every stage."""
        return [stage.objective or self.objective for stage in self.stages]
