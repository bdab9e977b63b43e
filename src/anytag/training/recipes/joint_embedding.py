"""Config of a recipe for a joint embedding of sentences and pictures."""

from __future__ import annotations

from pydantic import Field

from anytag.foundations.settings import Seed, Settings
from anytag.training.recipes.evidence import PictureGroup


class JointEmbeddingTraining(Settings):
    """A recipe that adds search by sentences to a model (:mod:`anytag.inference.joint_embedding`).

    Attributes:
        start: The model, whose networks are not changed: a directory, or ``lite`` for the shipped one.
        groups: Pictures with captions.
        captions: Maximum number of captions of a picture.
        epochs: Passes over the pictures, each with one caption per picture.
        learning_rate: Maximum, reached after a tenth of the steps (one-cycle schedule).
        weight_decay: Weight decay of matrices.
        batch_size: Pictures per step, which are negatives of each other.
        least: See :class:`~anytag.model.config.JointEmbeddingConfig`; so is ``tag_weight``.
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
