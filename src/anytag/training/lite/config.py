"""What a recipe of the shipped family returns: everything that decides a training run."""

from __future__ import annotations

from typing import Literal

from anytag.foundations.settings import Settings
from anytag.model.config import ModelConfig
from anytag.training.engine.config import LoopConfig, LoopStage


class DataConfig(Settings):
    """Which data, and how tags come from them.

    Attributes:
        train: Glob patterns of training shards, relative to the data folder.
        validation: Glob patterns of validation shards; they are removed from ``train``.
        texts: Glob patterns of caption files without pictures. Captions that also occur in validation are dropped.
        categories: Human categories of the validation pictures that mean average precision is taken over.
        views: Cached copies of each picture: the plain one and ``views - 1`` augmented ones.
        min_support: Pictures that a caption tag needs to enter the vocabulary.
        guide_support: Pictures that a tag needs to guide captions in stages that train the captioner alone.
        corner_support: Pictures that an object needs to be looked for in corners, where a loss asks for it.
        teacher_threshold: Probability above which the ImageNet classifier's class is a tag of the picture.
        parser: Which caption parser.
        caption_tokens: Captions are cut there; a batch is as long as its longest.
        tag_tokens: Tag lists are cut there, between tags.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    texts: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    views: int = 2
    min_support: int = 8
    guide_support: int = 8
    corner_support: int = 50
    teacher_threshold: float = 0.6
    parser: Literal["auto", "light", "spacy"] = "auto"
    caption_tokens: int = 26
    tag_tokens: int = 32


class LossConfig(Settings):
    """The objective; weights of 0 switch a part off.

    ``distillation`` holds a trained image encoder to what its ImageNet classifier said before (as RAM holds its own to
    CLIP). ``tagging`` and ``alignment`` are rescaled to the caption loss (as in the papers) before they are weighted.
    ``consensus`` rewards sampled captions for agreeing with a picture's several references
    (:mod:`anytag.training.lite.consensus`), ``samples`` of them a picture. ``token_dropout`` hides that share of a
    picture's tokens from recognition decoder and captioner, so that no tag hangs on one spot. ``corners`` holds the
    model to what it found, before the stage, in pictures and their corners (:mod:`anytag.training.lite.multi_crop`).
    """

    gamma_negative: float = 7.0
    gamma_positive: float = 0.0
    clip: float = 0.05
    alignment_gamma_negative: float = 4.0
    tagging: float = 1.0
    captioning: float = 1.0
    texts: float = 0.5
    alignment: float = 0.25
    distillation: float = 0.5
    consensus: float = 0.0
    samples: int = 5
    token_dropout: float = 0.0
    corners: float = 0.0
    negatives: int = 128
    label_smoothing: float = 0.1
    no_tags: float = 0.15
    found_tags: float = 0.45
    found_most: int = 14


class StageConfig(LoopStage):
    """A stage of the ``lite`` recipe.

    Attributes:
        encoder_learning_rate: Peak rate of the image encoder's upper stages; 0 keeps them frozen.
        end_to_end: Train on pixels, the whole image encoder at ``encoder_learning_rate``.
        captioner_only: Leave everything but the captioner as it is (with what the recognition decoder shares).
        views: Draw from the first so many cached views; ``None``: from all.
        drop_path: Probability of leaving a residual branch of the trained image encoder out.
        captions: Captions of a picture that one step learns, where it has as many.
        several: Share of a batch that is drawn from the pictures with several captions.
        loss: The stage's own objective; ``None``: that of the run.
    """

    end_to_end: bool = False
    captioner_only: bool = False
    views: int | None = None
    drop_path: float = 0.0
    captions: int = 1
    several: float = 0.0
    loss: LossConfig | None = None

    def trains(self, parameter: str) -> bool:
        """Whether the stage changes a parameter of :class:`~anytag.nn.model.RecognitionModel`, by its name."""
        if parameter.startswith("image_encoder."):
            return super().trains(parameter)
        captioner = parameter.startswith(("interaction_encoder.", "text_decoder.", "no_picture"))
        return captioner or not self.captioner_only


class TrainingConfig(LoopConfig):
    """A whole run of the ``lite`` recipe.

    Attributes:
        start: Model to go on from, with its tags and word pieces: a model directory of the same sizes, trained or
            exported, or ``lite`` for the one that ships; ``None``: a new one from ImageNet's weights.
        text_batch_size: Captions without pictures that a step learns.
    """

    name: str
    start: str | None = None
    model: ModelConfig
    data: DataConfig
    loss: LossConfig = LossConfig()
    stages: tuple[StageConfig, ...]
    text_batch_size: int = 64
