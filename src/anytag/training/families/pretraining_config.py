"""What a recipe of the published families returns: data, model, objective and course of a run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from anytag.foundations.settings import Settings
from anytag.model.config import ModelConfig
from anytag.nn.momentum import MomentumConfig
from anytag.training.engine.config import LoopConfig, LoopStage
from anytag.training.families.augmentation import AugmentationConfig
from anytag.training.families.objectives import RamConfig, RamPlusConfig, Tag2TextConfig

#: What :func:`~anytag.datasets.opening.open_source` opens; paths are relative to the data folder. With the key
#: ``manifest``, the folder of a manifest of the data engine, whose tags and captions then stand for the source's own.
SourceSpec = str | dict[str, Any]

#: Stands for the sentence encoder of the ``lite`` models where a CLIP directory is asked for as a text encoder.
SENTENCE_ENCODER = "all-MiniLM-L6-v2"


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
    """

    tags: str | None = None
    change: Literal["keep", "add", "replace"] = "keep"
    read: Literal["tags", "captions", "both"] = "both"
    min_support: int = Field(default=1, ge=1)
    max_tags: int | None = Field(default=None, ge=1)


class TeacherConfig(Settings):
    """What the model is to resemble, and what embeds texts for it.

    Attributes:
        clip: A CLIP directory as ``transformers`` saves it; its text encoder embeds tags and captions, its image
            encoder is the teacher.
        cached: A folder of :func:`~anytag.training.families.teachers.cache_teacher`, in place of CLIP's image encoder.
        texts: Another CLIP directory for texts, or :data:`SENTENCE_ENCODER`; ``None``: as ``clip``.
        descriptions: A file of ``anytag vocabulary describe``, for RAM++; ``None``: templates.
    """

    clip: str | None = None
    cached: str | None = None
    texts: str | None = None
    descriptions: str | None = None


class StreamConfig(Settings):
    """How the data are read; see :class:`~anytag.datasets.stream.SampleStream`.

    Attributes:
        shuffle: ``true``: exactly, where every source is indexed; ``window``: within windows.
        window: Samples of a window.
        samples_per_epoch: Of all processes; needed where sources are streamed, for they do not know how many they are.
        threads: That decode in each process; ``None``: one for every processor, 8 at the most.
        bad_share: Share of unreadable samples above which the run stops.
        bad_minimum: Samples that have to be seen first.
    """

    shuffle: bool | Literal["window"] = True
    window: int = Field(default=1024, ge=1)
    samples_per_epoch: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=0)
    bad_share: float = Field(default=0.01, ge=0, le=1)
    bad_minimum: int = Field(default=200, ge=1)


class PretrainingStage(LoopStage):
    """A stage of such a run.

    Attributes:
        only: Parts of the model that learn, by the beginnings of their parameters' names (``label_queries.``,
            ``recognition_decoder.score``); none: all.
    """

    only: tuple[str, ...] = ()

    def trains(self, parameter: str) -> bool:
        """Whether the stage changes a :class:`~anytag.training.families.learner.Learner`'s parameter, by its name."""
        name = parameter.removeprefix("model.")
        if name.startswith("image_encoder.") and not self.encoder_learning_rate:
            return False
        return not self.only or name.startswith(self.only)


class PretrainingConfig(LoopConfig):
    """A whole run of a published family: pre-training, or fine-tuning from a model directory.

    Attributes:
        name: Of the model.
        model: Its sizes, for a new one; a captioner's ``vocabulary`` is that of the BERT tokenizer.
        start: The model directory to start from, with PyTorch weights; ``None``: a new model.
        resolution: Side of the pictures, if it is not that of ``model`` or ``start``.
        drop_path: Of the image encoder, if it is not that of ``model`` or ``start``.
        image_weights: ImageNet weights of the Swin (:func:`~anytag.checkpoints.swin.load_swin_backbone`).
        text_weights: A directory of ``bert-base-uncased``, that the text parts of a new model begin as.
        vocabulary: Tags.
        sources: Training data.
        validation: Data that are never trained on.
        validation_pictures: Most of them that are looked at.
        objective: What is learnt; its class says which objective it is.
        pictures_per_loss: RAM++'s tagging and alignment are sums over the pictures that are learnt from at once, and so
            count the more against distillation, the more those are. They are brought to what so many pictures give,
            however many processes and micro-batches there are; ``None``: they stay as they are.
        momentum: Of Tag2Text's contrast.
        alignment_width: Of Tag2Text's contrast.
        augmentation: Of training pictures.
        tags: Which tags a picture is taught; see :data:`~anytag.training.families.pair_source.TagSource`.
        parser: Reads captions whose tags the data do not give; ``none``: nobody does.
        words: Longest caption, in words.
        recognised_share: Share of captions that learn with the tags that the model itself finds in the picture, in
            place of their own.
        recognised_threshold: Score from which on it has found one.
        teacher: Of pictures and texts.
        stream: How data are read.
        stages: One after another.
    """

    name: str
    model: ModelConfig | None = None
    start: str | None = None
    resolution: int | None = Field(default=None, ge=32)
    drop_path: float | None = Field(default=None, ge=0, lt=1)
    image_weights: str | None = None
    text_weights: str | None = None
    vocabulary: VocabularyConfig = VocabularyConfig()
    sources: tuple[SourceSpec, ...] = Field(min_length=1)
    validation: tuple[SourceSpec, ...] = ()
    validation_pictures: int = Field(default=1000, ge=1)
    objective: Tag2TextConfig | RamConfig | RamPlusConfig
    pictures_per_loss: int | None = Field(default=None, ge=1)
    momentum: MomentumConfig = MomentumConfig()
    alignment_width: int = Field(default=256, ge=1)
    augmentation: AugmentationConfig = AugmentationConfig()
    tags: Literal["caption", "picture", "given"] = "picture"
    parser: Literal["auto", "light", "spacy", "none"] = "auto"
    words: int = Field(default=30, ge=1)
    recognised_share: float = Field(default=0.0, ge=0, le=1)
    recognised_threshold: float = Field(default=0.68, ge=0, le=1)
    teacher: TeacherConfig = TeacherConfig()
    stream: StreamConfig = StreamConfig()
    stages: tuple[PretrainingStage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _begins_somewhere(self) -> PretrainingConfig:
        if (self.model is None) == (self.start is None):
            raise ValueError("give either model, the sizes of a new one, or start, a model directory")
        return self
