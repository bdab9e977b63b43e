"""How a model is taught tags."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from anytag.foundations.settings import Seed, Settings

#: How recipes and commands name the model that ships.
SHIPPED = "lite"

#: What :func:`~anytag.datasets.opening.open_source` opens; paths are relative to the data folder.
Source = str | dict[str, Any]


class TeachingConfig(Settings):
    """What is taught to which model, and how.

    Attributes:
        name: Of the model that comes out.
        start: The model that is taught: a folder, a hub id, or ``lite`` for the one that ships.
        sources: Pictures with tags. A folder whose pictures lie in folders inside it, with nothing beside them, has the
            names of these as tags.
        validation: More of them, which are only measured on.
        negatives: Pictures of other things, for models with another image encoder than the one that ships, or in
            addition.
        views: Views of every picture that it is learned by: as it is, mirrored, and then parts of it.
        penalty: On the squares of a tag's weights.
        max_false_positives: Share of negatives that a new tag may be found in.
        folds: Parts of the pictures that are left out in turn to see where a tag begins.
        seed: Of views and parts.
    """

    name: str = "own-tags"
    start: str = SHIPPED
    sources: tuple[Source, ...] = Field(min_length=1)
    validation: tuple[Source, ...] = ()
    negatives: tuple[Source, ...] = ()
    views: int = Field(default=4, ge=1, le=20)
    penalty: float = Field(default=10.0, gt=0)
    max_false_positives: float = Field(default=0.003, gt=0, lt=0.5)
    folds: int = Field(default=5, ge=2, le=20)
    seed: Seed = 0
