"""JSON lines, and JSON files with one array: each object is a sample."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anytag.datasets.offsets import Records, index_lines, index_objects
from anytag.datasets.records import choose_columns, to_sample
from anytag.datasets.samples import Sample
from anytag.datasets.sources import RecordSource
from anytag.errors import SampleError, UsageError
from anytag.foundations.wording import counted

#: Objects whose keys are collected.
_LOOKED_AT = 100


class JsonSource(RecordSource):
    """The objects of a JSON lines file or a JSON array.

    Args:
        path: The file, in UTF-8; an array if its name ends in ``.json``, else an object per line. Twelve to sixteen
            bytes per object stay in memory.
        columns: Keys by role, see :func:`~anytag.datasets.records.choose_columns`; others are guessed from the keys of
            the first hundred objects.
        images: Folder of relative picture paths; ``None``: the file's own.

    Raises:
        UsageError: If the file cannot be read, or its keys are not understood.
    """

    def __init__(self, path: str | Path, *, columns: Mapping[str, Any] | None = None, images: str | Path | None = None):
        self.path = Path(path)
        self._records = open_objects(self.path)
        if not len(self._records):
            raise UsageError(f"{self.path}: the file contains no objects")
        self.columns = choose_columns(_keys(self._records), columns, str(self.path))
        self.folder = Path(images) if images is not None else self.path.parent
        kind = "JSON list" if self._records.lines is None else "JSON lines"
        self.description = f"{kind} {self.path}: {counted(len(self), 'object')}, {self.columns}"
        self.identity = f"json {self.path.name}: {len(self)}"

    def __getitem__(self, index: int) -> Sample:
        self._check(index)
        source = self._records.place(index)
        return to_sample(read_object(self._records, index), self.columns, source, self.folder, str(index))


def open_objects(path: Path) -> Records:
    """Find the objects in a JSON array (``.json``) or in JSON lines.

    Raises:
        UsageError: If the file cannot be read or is not an array.
    """
    if path.suffix.lower() != ".json":
        return index_lines(path)
    found = index_objects(path)
    if "" not in found:
        raise UsageError(f"{path}: an object, not an array of objects; COCO's files are opened with kind 'coco'")
    return found[""]


def read_object(records: Records, index: int) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        SampleError: ``row``, if it is not one.
    """
    source = records.place(index)
    try:
        record = json.loads(records[index])
    except SampleError as error:
        raise error.at(source) from error.__cause__
    except ValueError as error:
        raise SampleError("row", f"not JSON ({error})", source) from error
    if not isinstance(record, dict):
        raise SampleError("row", f"not a JSON object: {record!r:.80}", source)
    return record


def _keys(records: Records) -> list[str]:
    keys: dict[str, None] = {}
    for index in range(min(_LOOKED_AT, len(records))):
        try:
            keys.update(dict.fromkeys(read_object(records, index)))
        except SampleError:
            continue
    return list(keys)
