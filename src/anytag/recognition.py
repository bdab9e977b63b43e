"""Results of recognition."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

TagKind = Literal["object", "scene", "attribute", "action"]

TAG_KINDS: tuple[TagKind, ...] = ("object", "scene", "attribute", "action")


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag found in a picture.

    Attributes:
        name: Preferred name, lower case; for a category, the user's own text.
        score: Probability-like score in [0, 1].
        kind: Object, scene, attribute or action.
        threshold: Lowest score at which the tag counts as found.
        id: Id in the vocabulary; ``None`` for a category.
        taken_for: The vocabulary's name of the tag that a category matches: "kitten" for "kitty".
    """

    name: str
    score: float
    kind: TagKind
    threshold: float
    id: int | None = None
    taken_for: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the tag as in the JSON lines (``taken_for`` only for a category that is a tag)."""
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
        path: The picture's path, or a description of its origin.
        tags: Tags found, best first; categories in the order in which they were given.
        caption: A sentence, or ``None`` if none was asked for.
        given: Tags that guided the caption: the names given, or the tags found.
        covered: Those of ``given`` that the caption mentions.
        notes: Remarks about the picture: ``blank``, the same color everywhere, so that there is nothing to recognize;
            ``truncated``, the file ends too early, and the rest is missing.
        size: Width and height of the upright picture, in pixels. It is not in the JSON lines, so it is ``None`` in
            recognitions read from them, and comparisons ignore it.
    """

    path: str
    tags: tuple[Tag, ...] = ()
    caption: str | None = None
    given: tuple[str, ...] | None = None
    covered: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    size: tuple[int, int] | None = field(default=None, compare=False)

    def noted(self, notes: tuple[str, ...], size: tuple[int, int], keep: bool) -> Recognition:
        """Return the recognition with remarks about the picture, without tags if it is blank.

        Args:
            notes: See :class:`Recognition`.
            size: Width and height of the upright picture, in pixels.
            keep: Keep the tags of a blank picture, since they were asked for explicitly.
        """
        if "blank" in notes and not keep:
            return Recognition(self.path, notes=notes, size=size)
        return replace(self, notes=notes, size=size)

    def to_json(self) -> dict[str, Any]:
        """Return the recognition as one JSON line.

        ``given`` and ``covered`` only if the caption was guided, ``notes`` only if there are any.
        """
        tags = [tag.to_json() for tag in self.tags]
        record: dict[str, Any] = {"path": self.path, "tags": tags, "caption": self.caption}
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
        text: As given.
        score: In [0, 1], higher fits better. For ranking; not a calibrated probability.
        tags: Tags found in the picture that the text names, best first.
    """

    text: str
    score: float
    tags: tuple[Tag, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the match as in the JSON lines."""
        tags = [tag.to_json() for tag in self.tags]
        return {"text": self.text, "score": round(float(self.score), 4), "tags": tags}


@dataclass(frozen=True, slots=True)
class Matches:
    """How well texts fit one picture.

    Attributes:
        path: The picture's path, or a description of its origin.
        matches: One per text, in order.
    """

    path: str
    matches: tuple[Match, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the matches as one JSON line."""
        return {"path": self.path, "matches": [match.to_json() for match in self.matches]}


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that could not be recognized; the rest of the batch continues."""

    path: str
    kind: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return the failure as one JSON line."""
        return {"path": self.path, "error": {"kind": self.kind, "message": self.message}}
