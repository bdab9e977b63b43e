"""The base of every group of settings, the bounds that many of them have, and what is wrong with one."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

#: Where random numbers begin; PyTorch's generators hold 64 bits.
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]

#: A share of a whole, 0 and 1 included.
Fraction = Annotated[float, Field(ge=0, le=1)]

#: A probability of leaving something out; nothing would be left at 1.
Dropout = Annotated[float, Field(ge=0, lt=1)]

#: Of a step of AdamW, which moves every weight by about so much.
LearningRate = Annotated[float, Field(ge=0, le=1)]

#: How wide something is, or how many of something there are in a network.
Size = Annotated[int, Field(ge=1, le=1 << 20)]

#: How many samples are worked on together.
BatchSize = Annotated[int, Field(ge=1, le=1 << 20)]


class Settings(BaseModel):
    """Settings that come from a file or a user: never changed once made, misspelled names and NaN are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def complaint_of(error: ValidationError) -> tuple[tuple[int | str, ...], str]:
    """What is wrong with settings: where, by the names of the setting and of those around it, and in words.

    Args:
        error: Of which the first mistake counts.
    """
    first = error.errors()[0]
    # pydantic puts these words before what a validator of ours says.
    return first["loc"], first["msg"].removeprefix("Value error, ")
