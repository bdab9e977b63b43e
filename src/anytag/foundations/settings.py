"""The base class of settings, and types with common bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

#: A random seed; PyTorch's generators hold 64 bits.
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]

#: A share from 0 to 1.
Fraction = Annotated[float, Field(ge=0, le=1)]

#: A dropout probability, below 1.
Dropout = Annotated[float, Field(ge=0, lt=1)]

#: AdamW's learning rate: about how far a step moves every weight.
LearningRate = Annotated[float, Field(ge=0, le=1)]

#: A width or a number of parts in a network.
Size = Annotated[int, Field(ge=1, le=1 << 20)]

BatchSize = Annotated[int, Field(ge=1, le=1 << 20)]


class Settings(BaseModel):
    """Immutable settings from a file or a user; unknown names and NaN are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Errors(Protocol):
    """An error of pydantic, or of a library that passes its details on."""

    def errors(self) -> Sequence[Any]: ...


def first_error(error: _Errors) -> tuple[tuple[int | str, ...], str]:
    """Return the first error's location, by the names of the settings around it, and its message."""
    first = error.errors()[0]
    # pydantic puts this prefix before the messages of our own validators.
    return first["loc"], first["msg"].removeprefix("Value error, ")
