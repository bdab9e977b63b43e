"""The annotation lists published by RAM's authors: pictures, captions, and tags by their index in a tag list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anytag.datasets.json_records import open_objects, read_object
from anytag.datasets.records import read_captions
from anytag.datasets.samples import Sample, TagName
from anytag.datasets.sources import RecordSource
from anytag.errors import SampleError, UsageError
from anytag.foundations.wording import counted
from anytag.recognition import TAG_KINDS


class PaperListSource(RecordSource):
    """A JSON list of ``image_path``, ``caption``, ``union_label_id`` and ``parse_label_id``.

    The union contains all tags of the captions, the generated captions and the model; parsed tags are those that each
    caption names (RAM, section 3.3; format of ``coco_train_rmcocodev_ram.json``).

    Args:
        tag_list: Names in the order of the ids: a text file with a name per line (``ram_tag_list.txt``), or a list of
            names. A tab and a kind may follow a name, since words such as "train" are two tags of Tag2Text's list.
        images: Folder of ``image_path``; ``None``: the list's own.

    Raises:
        UsageError: If a file cannot be read.
    """

    def __init__(
        self, path: str | Path, *, tag_list: str | Path | Sequence[str | TagName], images: str | Path | None = None
    ):
        self.path = Path(path)
        self.names = read_tag_list(tag_list)
        self._records = open_objects(self.path)
        if not len(self._records):
            raise UsageError(f"{self.path}: the list is empty")
        self.folder = Path(images) if images is not None else self.path.parent
        self.description = (
            f"official list {self.path}: {counted(len(self), 'picture')}, ids of {len(self.names):,} tags"
        )
        self.identity = f"list {self.path.name}: {len(self)}"

    def __getitem__(self, index: int) -> Sample:
        self._check(index)
        source = self._records.place(index)
        record = read_object(self._records, index)
        try:
            picture = record.get("image_path")
            if not isinstance(picture, str) or not picture:
                raise SampleError("picture", f"'image_path' holds {picture!r:.80}, not a path")
            given = record.get("caption")
            parsed = record.get("parse_label_id")
            sentences = [given] if isinstance(given, str) else given or []
            if isinstance(given, str) and not _is_nested(parsed):
                parsed = [parsed]
            if parsed is not None and (not _is_nested(parsed) or len(parsed) != len(sentences)):
                raise SampleError("tags", f"'parse_label_id' holds no list for each of the {len(sentences)} captions")
            read_captions(sentences, "caption")
            # Blank captions are dropped together with their tags.
            kept = [place for place, sentence in enumerate(sentences) if sentence.strip()]
            return Sample(
                id=str(index),
                picture=self.folder / picture,
                captions=tuple(sentences[place].strip() for place in kept),
                tags=self._tags(record.get("union_label_id"), "union_label_id"),
                caption_tags=tuple(self._tags(parsed[p], "parse_label_id") for p in kept) if parsed else (),
                source=source,
            )
        except SampleError as error:
            raise error.at(source) from error

    def _tags(self, ids: Any, key: str) -> tuple[TagName, ...]:
        found = []
        for id in [] if ids is None else ids if isinstance(ids, list) else [ids]:
            if not isinstance(id, int) or not 0 <= id < len(self.names):
                raise SampleError(
                    "tags", f"{key!r} holds {id!r:.40}, but the tag list has ids 0 to {len(self.names) - 1}"
                )
            found.append(self.names[id])
        return tuple(dict.fromkeys(found))


def _is_nested(value: object) -> bool:
    return isinstance(value, list) and all(item is None or isinstance(item, list) for item in value)


def read_tag_list(tags: str | Path | Sequence[str | TagName]) -> tuple[TagName, ...]:
    """Read tags by id, from a text file with a name per line or from names.

    Raises:
        UsageError: If the file cannot be read, or a line is blank or has an unknown kind.
    """
    where = "the tag list"
    lines: Sequence[str | TagName]
    if isinstance(tags, str | Path):
        where = str(tags)
        try:
            lines = Path(tags).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise UsageError(f"{tags}: the tag list cannot be read ({error})") from error
    else:
        lines = tags
    found = []
    for number, line in enumerate(lines):
        if isinstance(line, TagName):
            found.append(line)
            continue
        name, _, kind = line.partition("\t")
        known = next((known for known in TAG_KINDS if known == kind.strip()), None)
        if not name.strip() or (kind.strip() and known is None):
            raise UsageError(f"{where}: line {number + 1} is {line!r:.60}, not a name, or a name, a tab and a kind")
        found.append(TagName(name.strip(), known))
    return tuple(found)
