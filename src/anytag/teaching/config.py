"""Settings of teaching a model tags."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from anytag.foundations.settings import Seed, Settings

#: The name of the shipped model in recipes and commands.
SHIPPED = "lite"

#: What :func:`~anytag.datasets.opening.open_source` opens; paths are relative to the data folder.
Source = str | dict[str, Any]


class TeachingConfig(Settings):
    """Settings of teaching a model tags.

    Attributes:
        name: The new model's name.
        start: The model that is taught: a folder, a hub id, or ``lite`` for the shipped one.
        sources: Pictures with tags. If all pictures of a folder lie in folders inside it, without caption files, the
            names of these folders are the tags.
        validation: More pictures with tags, which are only measured on.
        negatives: Pictures of other things, in addition to the shipped bank. Models with another image encoder than the
            shipped one cannot use that bank.
        views: Views of each picture that are trained on: the picture, its mirror image, then random crops.
        penalty: Factor of the sum of a tag's squared weights.
        max_false_positives: Share of negatives in which a new tag may be found.
        folds: Of the cross-validation that places the threshold.
        seed: Of crops and folds.
    """

    name: str = "own-tags"
    start: str = SHIPPED
    sources: tuple[Source, ...] = Field(min_length=1)
    validation: tuple[Source, ...] = ()
    negatives: tuple[Source, ...] = ()
    views: int = Field(default=4, ge=1, le=20)
    penalty: float = Field(default=5.0, gt=0)
    max_false_positives: float = Field(default=0.003, gt=0, lt=0.5)
    folds: int = Field(default=5, ge=2, le=20)
    seed: Seed = 0
