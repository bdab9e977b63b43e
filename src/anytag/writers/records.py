"""The input of writers: one picture, its recognition, and the model that made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from anytag.foundations.json_lines import writable
from anytag.model.vocabulary import TagVocabulary
from anytag.recognition import Recognition, Tag

#: The tags to write: ``all`` that were found, or only the ``specific`` ones, which no other found tag implies.
TagSelection = Literal["all", "specific"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """The model that tagged a picture, and when.

    Attributes:
        model: The model's name.
        version: First digits of a checksum of the model's files.
        time: ISO 8601, in UTC, to the second.
    """

    model: str
    version: str
    time: str


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """One picture to write.

    Attributes:
        path: As given or found; ``archive.tar/name`` for a picture in an archive.
        recognition: The tags and the caption.
        provenance: The model, and the time.
        in_archive: The picture is not a file of its own, so no sidecar can lie beside it.
        thumbnail: A small JPEG, if one is stored.
    """

    path: str
    recognition: Recognition
    provenance: Provenance
    in_archive: bool = False
    thumbnail: bytes | None = field(default=None, repr=False)

    @property
    def tags(self) -> tuple[Tag, ...]:
        """The tags to write, best first."""
        return self.recognition.tags

    def writable(self) -> PictureRecord:
        """Return the record with names and a caption that UTF-8 can hold, for formats without escapes."""
        recognition = self.recognition
        tags = tuple(replace(tag, name=writable(tag.name)) for tag in recognition.tags)
        caption = None if recognition.caption is None else writable(recognition.caption)
        return replace(self, recognition=replace(recognition, tags=tags, caption=caption))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON line of the command line, with model, version and time."""
        found = self.provenance
        return {**self.recognition.to_json(), "model": found.model, "version": found.version, "time": found.time}


class TagView:
    """Select the tags to write, and know their parents.

    Args:
        vocabulary: The model's, which knows the tags that each tag implies.
        selection: See :data:`TagSelection`.
        per_kind: Highest number of tags of each kind, best first; ``None``: no limit.
    """

    def __init__(self, vocabulary: TagVocabulary, selection: TagSelection = "all", per_kind: int | None = None):
        self.vocabulary, self.selection, self.per_kind = vocabulary, selection, per_kind

    def __call__(self, record: PictureRecord) -> PictureRecord:
        """Return the record with the selected tags."""
        tags: Sequence[Tag] = record.tags
        if self.selection == "specific":
            specific = self.vocabulary.most_specific(tag.id for tag in tags if tag.id is not None)
            tags = [tag for tag in tags if tag.id is None or tag.id in specific]
        if self.per_kind is not None:
            left = dict.fromkeys((tag.kind for tag in tags), self.per_kind)
            kept = []
            for tag in tags:
                left[tag.kind] -= 1
                if left[tag.kind] >= 0:
                    kept.append(tag)
            tags = kept
        once = {tag.name.casefold(): tag for tag in reversed(tags)}  # Keep the better of two tags with one name.
        tags = [tag for tag in tags if once[tag.name.casefold()] is tag]
        return replace(record, recognition=replace(record.recognition, tags=tuple(tags)))

    def path(self, tag: Tag) -> tuple[str, ...]:
        """Return a tag below its parents, the most general first: ``("animal", "dog")``.

        Categories outside the vocabulary have no parents.
        """
        return (tag.name,) if tag.id is None else (*self.vocabulary.path(tag.id)[:-1], tag.name)
