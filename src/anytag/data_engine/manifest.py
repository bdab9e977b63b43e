"""The manifest: a record per picture with its captions and tags, and their sources.

A manifest is a folder of parts (``part-00000.jsonl`` or ``.parquet``), one for every part of the source, with
``vocabulary.json``, to which the tags' ids belong, and ``manifest.json``, which is written last and marks it as
complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from anytag.errors import DataError, SampleError, UsageError, needs_extra
from anytag.foundations.atomic_files import write_text
from anytag.model.vocabulary import TagVocabulary
from anytag.recognition import TAG_KINDS, TagKind

#: Version of the layout; newer ones are refused.
FORMAT_VERSION = 1

PartFormat = Literal["jsonl", "parquet"]

CaptionSource = Literal["human", "generated"]

#: The source of a tag: the data set's own tags, human captions, generated captions, or a model.
TagSource = Literal["given", "parsed", "generated", "teacher"]

TAG_SOURCES: tuple[TagSource, ...] = get_args(TagSource)

#: Why a tag was removed: its region is far from the tag's other regions, the model does not find it there, or it has
#: no region.
RemovalReason = Literal["outlier", "denied", "no_region"]


@dataclass(frozen=True, slots=True)
class ManifestCaption:
    """A caption.

    Attributes:
        tags: Ids of the tags that it names, ascending, without implied ones (the papers' ``parse_label_id``).
    """

    text: str
    source: CaptionSource = "human"
    model: str | None = None
    tags: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ManifestTag:
    """A tag of the manifest's vocabulary, from one source.

    Attributes:
        source: Its source; a tag from several sources is listed once for each.
        score: A model's score in [0, 1].
    """

    id: int
    name: str
    kind: TagKind
    source: TagSource
    score: float | None = None


@dataclass(frozen=True, slots=True)
class RemovedTag:
    """A removed tag.

    Attributes:
        value: The deciding value: the region's distance from the tag's nearest center, or its score.
    """

    tag: ManifestTag
    reason: RemovalReason
    value: float | None = None


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """One picture of the source, with the source's id.

    Attributes:
        place: The picture's place, for messages (``shard.tar:000012.jpg``).
        row: Its index in the source's part; part and row identify the picture.
        captions: Human ones first.
        tags: By id, then source.
    """

    id: str
    place: str
    row: int
    captions: tuple[ManifestCaption, ...] = ()
    tags: tuple[ManifestTag, ...] = ()
    removed: tuple[RemovedTag, ...] = ()

    def tag_ids(self) -> set[int]:
        """Return the ids of the tags, from any source."""
        return {tag.id for tag in self.tags}

    def to_json(self) -> dict[str, Any]:
        """Return the record as in a part, without empty fields."""
        record: dict[str, Any] = {"id": self.id, "place": self.place, "row": self.row}
        record["captions"] = [_filled(caption) for caption in self.captions]
        record["tags"] = [_filled(tag) for tag in self.tags]
        if self.removed:
            record["removed"] = [
                _filled(entry.tag) | {"reason": entry.reason} | ({} if entry.value is None else {"value": entry.value})
                for entry in self.removed
            ]
        return record

    @classmethod
    def from_json(cls, record: Any, place: str = "") -> PictureRecord:
        """Restore a record from :meth:`to_json`.

        Raises:
            SampleError: ``row``, if it is malformed.
        """
        try:
            if not isinstance(record, dict):
                raise TypeError(f"not an object: {record!r:.60}")
            return cls(
                _typed(record, "id", str),
                _typed(record, "place", str),
                _typed(record, "row", int),
                tuple(_caption(entry) for entry in record.get("captions") or ()),
                tuple(_tag(entry) for entry in record.get("tags") or ()),
                tuple(
                    RemovedTag(_tag(entry), _choice(entry, "reason", get_args(RemovalReason)), entry.get("value"))
                    for entry in record.get("removed") or ()
                ),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise SampleError("row", f"not a manifest's record ({reason})", place) from None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A complete manifest.

    Attributes:
        source: The identity of the source of its pictures.
    """

    folder: Path
    source: str
    parts: int
    format: PartFormat = "jsonl"

    def part(self, number: int) -> Path:
        """Return the file of a part."""
        return self.folder / part_name(number, self.format)

    @property
    def vocabulary_path(self) -> Path:
        """The vocabulary's file."""
        return self.folder / "vocabulary.json"

    @property
    def vocabulary(self) -> TagVocabulary:
        """The vocabulary, read from its file."""
        return TagVocabulary.load(self.vocabulary_path)

    def read(self, number: int) -> Iterator[PictureRecord | SampleError]:
        """Read the records of a part, with errors in place of damaged ones."""
        return read_part(self.part(number))

    def save(self) -> None:
        """Write ``manifest.json``, after everything else."""
        record = {"format": FORMAT_VERSION, "source": self.source, "parts": self.parts, "stored_as": self.format}
        write_text(self.folder / "manifest.json", json.dumps(record, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Manifest:
        """Open a manifest.

        Raises:
            UsageError: If there is none, or it is not complete.
            DataError: If it is damaged or has a newer format.
        """
        path = Path(folder) / "manifest.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(
                f"{folder}: no complete manifest (no manifest.json); finish the step that makes it"
            ) from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}); run the step that makes it again") from None
        if not isinstance(record, dict) or record.get("format", FORMAT_VERSION + 1) > FORMAT_VERSION:
            raise DataError(f"{path}: its format is newer than this anytag reads; update anytag")
        return cls(Path(folder), str(record["source"]), int(record["parts"]), record["stored_as"])


def part_name(number: int, format: str) -> str:
    """Return the file name of a part."""
    return f"part-{number:05}.{format}"


def write_part(path: Path, records: Iterable[PictureRecord], format: PartFormat = "jsonl") -> None:
    """Write records to a file, which the caller renames when it is complete.

    Raises:
        MissingExtraError: If the format is Parquet and pyarrow is missing.
    """
    if format == "parquet":
        _write_parquet(path, records)
        return
    with path.open("w", encoding="utf-8") as handle:
        for record in records:
            handle.write(json.dumps(record.to_json(), ensure_ascii=False) + "\n")


def read_part(path: Path) -> Iterator[PictureRecord | SampleError]:
    """Read the records of a file, with errors in place of damaged ones.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        if path.suffix == ".parquet":
            yield from _read_parquet(path)
            return
        with path.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                place = f"{path.name}:{number}"
                try:
                    yield PictureRecord.from_json(json.loads(line), place)
                except SampleError as error:
                    yield error
                except ValueError as error:
                    yield SampleError("row", f"not a line of JSON ({error})", place)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); run the step that makes it again"
        ) from None


#: Records per row group.
_ROW_GROUP = 4096


def _pyarrow() -> Any:
    with needs_extra("A manifest in Parquet", "parquet"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow


def _write_parquet(path: Path, records: Iterable[PictureRecord]) -> None:
    pa = _pyarrow()
    tag = [("id", pa.int32()), ("name", pa.string()), ("kind", pa.string()), ("source", pa.string())]
    tag.append(("score", pa.float64()))
    caption = [("text", pa.string()), ("source", pa.string()), ("model", pa.string()), ("tags", pa.list_(pa.int32()))]
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("place", pa.string()),
            ("row", pa.int64()),
            ("captions", pa.list_(pa.struct(caption))),
            ("tags", pa.list_(pa.struct(tag))),
            ("removed", pa.list_(pa.struct([*tag, ("reason", pa.string()), ("value", pa.float64())]))),
        ]
    )
    rows = (record.to_json() for record in records)
    with pa.parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, _ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))


def _read_parquet(path: Path) -> Iterator[PictureRecord | SampleError]:
    pa = _pyarrow()
    number = 0
    try:
        with pa.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROW_GROUP):
                for row in batch.to_pylist():
                    number += 1
                    try:
                        yield PictureRecord.from_json(row, f"{path.name}:{number}")
                    except SampleError as error:
                        yield error
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a Parquet file that can be read ({error})") from None


def _filled(entry: ManifestCaption | ManifestTag) -> dict[str, Any]:
    record = {field.name: getattr(entry, field.name) for field in fields(entry)}
    if "tags" in record:
        record["tags"] = list(record["tags"])
    return {name: value for name, value in record.items() if value is not None}


def _caption(entry: Any) -> ManifestCaption:
    return ManifestCaption(
        _typed(entry, "text", str),
        _choice(entry, "source", get_args(CaptionSource)),
        entry.get("model"),
        tuple(int(id) for id in entry.get("tags") or ()),
    )


def _tag(entry: Any) -> ManifestTag:
    score = entry.get("score")
    return ManifestTag(
        _typed(entry, "id", int),
        _typed(entry, "name", str),
        _choice(entry, "kind", TAG_KINDS),
        _choice(entry, "source", TAG_SOURCES),
        None if score is None else float(score),
    )


def _typed(entry: Any, key: str, type_: type) -> Any:
    if not isinstance(value := entry[key], type_):
        raise TypeError(f"{key!r} is {value!r:.40}")
    return value


def _choice(entry: Any, key: str, choices: tuple[str, ...]) -> Any:
    if (value := entry[key]) not in choices:
        raise ValueError(f"{key!r} is {value!r:.40}, not one of {', '.join(choices)}")
    return value
