"""CSV and TSV tables: each row is a sample."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anytag.datasets.offsets import Records, index_lines
from anytag.datasets.records import choose_columns, to_sample
from anytag.datasets.samples import Sample
from anytag.datasets.sources import RecordSource
from anytag.errors import SampleError, UsageError
from anytag.foundations.wording import counted

_DELIMITERS = (",", ";", "\t", "|")


class TableSource(RecordSource):
    """The rows of a CSV or TSV file in UTF-8.

    CSV is read as in RFC 4180: a field in double quotes may contain delimiters, line breaks and doubled quotes. In TSV,
    each line is a row, and quotes around a whole field are removed. Blank lines are skipped.

    Args:
        path: The table. Twelve bytes per row stay in memory.
        columns: Columns by role, see :func:`~anytag.datasets.records.choose_columns`; others are guessed from the
            names.
        images: Folder of relative picture paths; ``None``: the table's own.
        delimiter: Between fields; ``None``: a tab in ``.tsv``, else the most frequent one in the first line.
        header: Whether the first row names the columns; if not, they are called 0, 1, 2 …

    Raises:
        UsageError: If the file cannot be read, or its columns are not understood.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        columns: Mapping[str, Any] | None = None,
        images: str | Path | None = None,
        delimiter: str | None = None,
        header: bool = True,
    ):
        self.path = Path(path)
        if delimiter is not None and len(delimiter) != 1:
            raise UsageError(f"{self.path}: a delimiter is a single character, not {delimiter!r}")
        self.delimiter = delimiter or _delimiter(self.path)
        self._plain = self.delimiter == "\t"
        records = index_lines(self.path, quoted=not self._plain, delimiter=self.delimiter)
        if not len(records):
            raise UsageError(f"{self.path}: the table is empty")
        try:
            first = self._fields(records[0])
        except SampleError as error:
            raise UsageError(f"{self.path}: {error.reason}") from error
        self._names = [name.strip() for name in first] if header else [str(place) for place in range(len(first))]
        self.columns = choose_columns(self._names, columns, str(self.path))
        self._records = _without_header(records) if header else records
        self.folder = Path(images) if images is not None else self.path.parent
        kind = "TSV" if self._plain else "CSV"
        self.description = f"{kind} table {self.path}: {counted(len(self), 'row')}, {self.columns}"
        self.identity = f"table {self.path.name}: {len(self)}"

    def __getitem__(self, index: int) -> Sample:
        self._check(index)
        source = self._records.place(index)
        try:
            fields = self._fields(self._records[index])
        except SampleError as error:
            raise error.at(source) from error.__cause__
        if len(fields) != len(self._names):
            raise SampleError(
                "row",
                f"{counted(len(fields), 'field')}, but the table has {counted(len(self._names), 'column')}",
                source,
            )
        return to_sample(dict(zip(self._names, fields, strict=True)), self.columns, source, self.folder, str(index))

    def _fields(self, record: bytes) -> list[str]:
        try:
            text = record.decode("utf-8")
            if self._plain:
                return [_unquoted(field) for field in text.rstrip("\r\n").split("\t")]
            return next(csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter), [])
        except UnicodeDecodeError as error:
            raise SampleError("row", f"not in UTF-8 ({error.reason} at byte {error.start} of the row)") from error
        except csv.Error as error:
            raise SampleError("row", f"not a row of a table ({error})") from error


def _without_header(records: Records) -> Records:
    lines = records.lines
    return Records(records.path, records.starts[1:], records.ends[1:], None if lines is None else lines[1:])


def _delimiter(path: Path) -> str:
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    try:
        with path.open("rb") as handle:
            line = handle.readline(1 << 16).decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"{path}: the file cannot be read ({error.strerror or error})") from error
    return max(_DELIMITERS, key=line.count)


def _unquoted(field: str) -> str:
    if len(field) >= 2 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field
