"""The record type of all training sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anytag.errors import PictureError, SampleError
from anytag.foundations.wording import counted
from anytag.recognition import TAG_KINDS, TagKind


@dataclass(frozen=True, slots=True)
class TagName:
    """A data set's tag, independent of any vocabulary.

    Attributes:
        kind: The tag's kind if known ("train" is an object and an action).

    Raises:
        SampleError: ``tags``, for a blank name or an unknown kind.
    """

    name: str
    kind: TagKind | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise SampleError("tags", f"a tag's name must be text that is not blank, not {self.name!r}")
        if self.kind is not None and self.kind not in TAG_KINDS:
            raise SampleError("tags", f"tag {self.name!r} has the unknown kind {self.kind!r}; use one of {TAG_KINDS}")


@dataclass(frozen=True, slots=True)
class Box:
    """A labeled box.

    Attributes:
        x0: Left side, as a share of the picture's width.
        y0: Upper side, as a share of its height.
        x1: Right side.
        y1: Lower side.

    Raises:
        SampleError: ``boxes``, unless 0 <= x0 < x1 <= 1, 0 <= y0 < y1 <= 1 and the label is not blank.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    label: str

    def __post_init__(self) -> None:
        sides = (self.x0, self.y0, self.x1, self.y1)
        if not all(isinstance(side, int | float) for side in sides) or not (
            0 <= self.x0 < self.x1 <= 1 and 0 <= self.y0 < self.y1 <= 1
        ):
            raise SampleError(
                "boxes",
                f"a box is left, upper, right, lower as shares of the picture (0 to 1), not {list(sides)}; divide "
                "pixels by the picture's width and height",
            )
        if not isinstance(self.label, str) or not self.label.strip():
            raise SampleError("boxes", f"a box needs a label that is not blank, not {self.label!r}")


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture with annotations. Captions, tags and boxes are independent, and each may be empty.

    Attributes:
        id: Unique within its source.
        picture: The encoded picture's bytes, or the path of its file.
        labels: Human labels for validation; training never reads them.
        source: The sample's place (``shard.tar:000012.jpg``, ``table.csv:17``); stable, so it can seed random choices.
        caption_tags: For each caption, the tags that it names; empty if captions have not been parsed.

    Raises:
        SampleError: If a field has the wrong type; ``kind`` names the field.
    """

    id: str
    picture: bytes | Path
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    source: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    tags: tuple[TagName, ...] = ()
    caption_tags: tuple[tuple[TagName, ...], ...] = ()
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.picture, bytes | Path):
            self._refuse("picture", f"a picture is bytes or a Path, not {type(self.picture).__name__}")
        self._check("captions", self.captions, str, "text")
        self._check("labels", self.labels, str, "text")
        self._check("tags", self.tags, TagName, "TagName")
        self._check("boxes", self.boxes, Box, "Box")
        if self.caption_tags:
            if len(self.caption_tags) != len(self.captions):
                tagged, captions = (counted(len(found), "caption") for found in (self.caption_tags, self.captions))
                self._refuse("tags", f"tags of {tagged}, but {captions}")
            for tags in self.caption_tags:
                self._check("tags", tags, TagName, "TagName")

    def picture_bytes(self) -> bytes:
        """Return the encoded picture, read from its file if necessary.

        Raises:
            PictureError: ``not_found`` or ``unreadable``.
        """
        if isinstance(self.picture, bytes):
            return self.picture
        try:
            return self.picture.read_bytes()
        except FileNotFoundError:
            raise PictureError("not_found", self.place, f"{self.place}: no such file. Check the path.") from None
        except OSError as error:
            message = f"{self.place}: could not be read ({error.strerror or error})."
            raise PictureError("unreadable", self.place, message) from error

    def to_json(self) -> dict[str, Any]:
        """Return everything but the picture, boxes and ``extra``, JSON-serializable."""
        record: dict[str, Any] = {
            "id": self.id,
            "captions": self.captions,
            "labels": self.labels,
            "source": self.source,
        }
        if self.tags:
            record["tags"] = [(tag.name, tag.kind) for tag in self.tags]
        if self.caption_tags:
            record["caption_tags"] = [[(tag.name, tag.kind) for tag in tags] for tags in self.caption_tags]
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Sample:
        """Restore a sample from :meth:`to_json`, with an empty picture."""

        def names(tags: Iterable[tuple[str, TagKind | None]]) -> tuple[TagName, ...]:
            return tuple(TagName(name, kind) for name, kind in tags)

        return cls(
            id=record["id"],
            picture=b"",
            captions=tuple(record["captions"]),
            labels=tuple(record.get("labels", ())),
            source=record["source"],
            tags=names(record.get("tags", ())),
            caption_tags=tuple(map(names, record.get("caption_tags", ()))),
        )

    @property
    def place(self) -> str:
        """The sample's place in messages: its source, and the picture's file if it has its own."""
        if isinstance(self.picture, bytes):
            return self.source or self.id
        path = str(self.picture)
        return f"{self.source} ({path})" if self.source and not path.endswith(self.source) else path

    def _check(self, part: str, values: object, type_: type, what: str) -> None:
        if not isinstance(values, tuple) or not all(isinstance(value, type_) for value in values):
            self._refuse(part, f"{part} are a tuple of {what}, not {values!r:.80}")

    def _refuse(self, kind: str, reason: str) -> None:
        raise SampleError(kind, reason, self.source)


#: Receives one JSON-serializable record at a time, for instance about an unreadable sample.
Log = Callable[[dict[str, Any]], None]
