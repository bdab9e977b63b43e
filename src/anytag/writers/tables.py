"""Tables with one row per picture: JSON lines, CSV and Parquet (extra ``parquet``)."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from anytag.errors import needs_extra
from anytag.foundations.atomic_files import whole_file
from anytag.foundations.json_lines import json_line
from anytag.writers.records import PictureRecord

#: Records in a Parquet row group, all of which are held in memory.
_ROWS = 10_000


def printable_path(path: str) -> str:
    r"""Return a path as valid UTF-8 text; other bytes become ``\xNN``."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def write_jsonl(records: Iterable[PictureRecord], target: Path) -> None:
    """Write the JSON lines of ``anytag tag --json``, with the model and the time."""
    with whole_file(target) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json_line(record.to_json()) for record in records)


def write_csv(records: Iterable[PictureRecord], target: Path) -> None:
    """Write CSV for spreadsheets: tag names and their scores, best first, and the caption."""
    # The byte order mark tells spreadsheets that the file is UTF-8.
    with (
        whole_file(target) as part,
        part.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as file,
    ):
        rows = csv.writer(file)
        rows.writerow(["path", "tags", "scores", "caption", "model", "version", "time"])
        for record in records:
            found = record.provenance
            names = ", ".join(_quoted(tag.name) for tag in record.tags)
            scores = ", ".join(f"{tag.score:.4f}" for tag in record.tags)
            caption = record.recognition.caption or ""
            cells = [printable_path(record.path), names, scores, caption, found.model, found.version, found.time]
            rows.writerow([_without_formula(cell) for cell in cells])


def write_parquet(records: Iterable[PictureRecord], target: Path) -> None:
    """Write the fields of the JSON lines as Parquet, tags as a list of structs.

    Raises:
        MissingExtraError: If pyarrow is not installed.
    """
    with needs_extra("writing Parquet", "parquet"):
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    text, number = arrow.string(), arrow.float32()
    tag = arrow.struct([("name", text), ("score", number), ("kind", text), ("threshold", number)])
    texts = [(name, text) for name in ("caption", "model", "version", "time")]
    schema = arrow.schema([("path", text), ("tags", arrow.list_(tag)), *texts])
    rows = ({**record.writable().to_json(), "path": printable_path(record.path)} for record in records)
    with whole_file(target) as part, parquet.ParquetWriter(part, schema) as file:
        while group := list(islice(rows, _ROWS)):
            file.write_table(arrow.Table.from_pylist(group, schema=schema))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "," in name or '"' in name else name


def _without_formula(cell: str) -> str:
    """Quote a cell that a spreadsheet would run as a formula: a file may be called ``=cmd|…``."""
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
