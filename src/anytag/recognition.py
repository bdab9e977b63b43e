"""What recognition gives back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

TagKind = Literal["object", "scene", "attribute", "action"]

#: Every kind a tag may have, in the order in which people expect them.
TAG_KINDS: tuple[TagKind, ...] = ("object", "scene", "attribute", "action")


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag that was found in a picture.

    Attributes:
        name: Its preferred name, lower case; of a category that the user asked for, the user's own text.
        score: Probability-like score in [0, 1].
        kind: What sort of thing it names.
        threshold: The score at or above which the tag counts as found.
        id: Its id in the vocabulary; ``None`` for a category that the user made up.
        taken_for: What the vocabulary calls the tag that a category was taken for: "kitten" for "kitty".
    """

    name: str
    score: float
    kind: TagKind
    threshold: float
    id: int | None = None
    taken_for: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The tag as it stands in the JSON lines (``taken_for`` only for a category that is a tag)."""
        record = {
            "name": self.name,
            "score": round(float(self.score), 4),
            "kind": self.kind,
            "threshold": round(float(self.threshold), 4),
        }
        return record if self.taken_for is None else record | {"taken_for": self.taken_for}


@dataclass(frozen=True, slots=True)
class Recognition:
    """Everything recognized in one picture.

    Attributes:
        path: The picture's path, or a description of where it came from.
        tags: Tags found, best first; categories in the order in which they were asked for.
        caption: A sentence, or ``None`` if none was asked for.
        given: What the caption was asked to follow: names as you gave them, or of the tags found.
        covered: Those of ``given`` that the caption names.
        notes: What there is to know about the picture: ``blank``, the same color everywhere, so that there is nothing
            to recognize; ``truncated``, its file ends too early, and the rest is missing.
        size: Width and height of the upright picture, in pixels. It is not in the JSON lines, so that it is
            ``None`` where these were read back, and two recognitions that differ in it alone are equal.
    """

    path: str
    tags: tuple[Tag, ...] = ()
    caption: str | None = None
    given: tuple[str, ...] | None = None
    covered: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    size: tuple[int, int] | None = field(default=None, compare=False)

    def noted(self, notes: tuple[str, ...], size: tuple[int, int], keep: bool) -> Recognition:
        """The recognition with what is known about the picture itself.

        Args:
            notes: What there is to know.
            size: Width and height of the upright picture, in pixels.
            keep: Whether what models see in blank pictures is kept, since it was asked for expressly.
        """
        if "blank" in notes and not keep:
            return Recognition(self.path, notes=notes, size=size)
        return replace(self, notes=notes, size=size)

    def to_json(self) -> dict[str, Any]:
        """The recognition as one JSON line.

        ``given`` and ``covered`` only where a caption was guided, ``notes`` only where there are any.
        """
        record: dict[str, Any] = {
            "path": self.path,
            "tags": [tag.to_json() for tag in self.tags],
            "caption": self.caption,
        }
        if self.given is not None:
            record["given"] = list(self.given)
            record["covered"] = list(self.covered or ())
        if self.notes:
            record["notes"] = list(self.notes)
        return record


@dataclass(frozen=True, slots=True)
class Match:
    """How well a text fits a picture.

    Attributes:
        text: As it was given.
        score: In [0, 1]; higher fits better. It ranks texts and pictures, and is not a calibrated probability.
        tags: Those of the tags found in the picture that the text names, best first.
    """

    text: str
    score: float
    tags: tuple[Tag, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The match as it stands in the JSON lines."""
        return {
            "text": self.text,
            "score": round(float(self.score), 4),
            "tags": [tag.to_json() for tag in self.tags],
        }


@dataclass(frozen=True, slots=True)
class Matches:
    """How well texts fit one picture.

    Attributes:
        path: The picture's path, or a description of where it came from.
        matches: One a text, in the order in which the texts were given.
    """

    path: str
    matches: tuple[Match, ...]

    def to_json(self) -> dict[str, Any]:
        """The matches as one JSON line."""
        return {"path": self.path, "matches": [match.to_json() for match in self.matches]}


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that could not be recognized; the rest of the batch went on."""

    path: str
    kind: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """The failure as one JSON line."""
        return {"path": self.path, "error": {"kind": self.kind, "message": self.message}}
