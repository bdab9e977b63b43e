"""What a recipe for a joint embedding returns: which pictures and captions it is learned from, and how."""

from __future__ import annotations

from pydantic import Field

from anytag.foundations.settings import Seed, Settings
from anytag.training.recipes.evidence import PictureGroup


class JointEmbeddingTraining(Settings):
    """A recipe that lets sentences find pictures (:mod:`anytag.inference.joint_embedding`).

    Attributes:
        name: Of the recipe.
        start: The model, whose networks stay as they are: a directory, or ``lite`` for the one that ships.
        groups: Pictures with captions.
        captions: At most that many of a picture.
        width: Of the space.
        epochs: Passes over the pictures; each time with one of a picture's captions.
        learning_rate: The highest; a tenth of the steps go up to it, the others down to nothing.
        weight_decay: Of matrices.
        batch_size: Pictures a step; each is told apart from all others of its batch.
        dropout: Share of inputs left out at a step.
        least: See :class:`~anytag.model.config.JointEmbeddingConfig`.
        tag_weight: Likewise.
        seed: Of everything drawn.
    """

    name: str = "joint embedding"
    start: str = "lite"
    groups: tuple[PictureGroup, ...]
    captions: int = Field(default=5, ge=1)
    width: int = Field(default=128, ge=1)
    epochs: int = Field(default=30, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_size: int = Field(default=1024, ge=2)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    least: float = -14.0
    tag_weight: float = Field(default=0.05, ge=0)
    seed: Seed = 0
