"""The one record type that every training source yields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture and what is known of it.

    Attributes:
        id: Unique within its source.
        picture: The encoded picture's bytes.
        captions: Human sentences about the picture; may be empty.
        labels: Human labels. They serve validation only: training reads captions.
        source: Where the sample came from, for error messages (``shard.tar:000012.jpg``).
    """

    id: str
    picture: bytes
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    source: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
