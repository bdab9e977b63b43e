"""What writers get: one picture with all that was recognized in it, and by what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from anytag.foundations.json_lines import writable
from anytag.model.vocabulary import TagVocabulary
from anytag.recognition import Recognition, Tag

#: Which of the tags found are written: ``all``, or only the ``specific`` ones, which no other found tag implies.
TagSelection = Literal["all", "specific"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What found the tags of a picture, and when.

    Attributes:
        model: The model's name.
        version: Of its files: the first digits of a checksum.
        time: ISO 8601, in UTC, to the second.
    """

    model: str
    version: str
    time: str


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """One picture as writers see it.

    Attributes:
        path: As it was given or found; of a picture in an archive, ``archive.tar/name``.
        recognition: What was found.
        provenance: By what.
        in_archive: Whether the picture is not a file of its own, so that nothing can lie beside it.
        thumbnail: The picture as a small JPEG, where one is kept.
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
        """The same with names and a caption that UTF-8 holds, for files that cannot escape what it does not."""
        seen = self.recognition
        tags = tuple(replace(tag, name=writable(tag.name)) for tag in seen.tags)
        caption = None if seen.caption is None else writable(seen.caption)
        return replace(self, recognition=replace(seen, tags=tags, caption=caption))

    def to_json(self) -> dict[str, Any]:
        """The JSON line of the command line, and where it comes from."""
        found = self.provenance
        return {**self.recognition.to_json(), "model": found.model, "version": found.version, "time": found.time}


class TagView:
    """Tags as a user wants them written: which ones, how many of a kind, under which parents.

    Args:
        vocabulary: Of the model; it knows which tags imply which.
        selection: See :data:`TagSelection`.
        per_kind: At most that many tags of each kind, the best; ``None``: no limit.
    """

    def __init__(self, vocabulary: TagVocabulary, selection: TagSelection = "all", per_kind: int | None = None):
        self.vocabulary, self.selection, self.per_kind = vocabulary, selection, per_kind

    def __call__(self, record: PictureRecord) -> PictureRecord:
        """The record with only the tags that are wanted."""
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
        once = {tag.name.casefold(): tag for tag in reversed(tags)}  # Of one name under two ids, the better one.
        tags = [tag for tag in tags if once[tag.name.casefold()] is tag]
        return replace(record, recognition=replace(record.recognition, tags=tuple(tags)))

    def path(self, tag: Tag) -> tuple[str, ...]:
        """A tag below its parents, the most general first: ``("animal", "dog")``.

        Categories that the vocabulary does not know have no parents.
        """
        return (tag.name,) if tag.id is None else (*self.vocabulary.path(tag.id)[:-1], tag.name)
