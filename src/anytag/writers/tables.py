"""Files of many pictures: what a writer of one is, and the line-by-line ones (JSON lines, CSV)."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from anytag.foundations.atomic_files import whole_file
from anytag.foundations.json_lines import json_line
from anytag.writers.records import PictureRecord


class TableWriter(Protocol):
    """Writes one file of all pictures, whole or not at all."""

    @property
    def name(self) -> str:
        """As ``--write`` says it."""

    @property
    def filename(self) -> str:
        """In the output folder."""

    def write(self, records: Iterable[PictureRecord], target: Path) -> None:
        """Write the records, in order.

        Args:
            records: Drawn once, one at a time.
            target: The file; what was there is replaced.

        Raises:
            OSError: If it cannot be written.
        """


def shown(path: str) -> str:
    r"""A path as text that UTF-8 can hold; bytes that are not UTF-8 become ``\xNN``."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


@dataclass(frozen=True)
class JsonLines:
    """The JSON lines of ``anytag tag --json``, with what found the tags and when."""

    name: str = "jsonl"
    filename: str = "tags.jsonl"

    def write(self, records: Iterable[PictureRecord], target: Path) -> None:
        """See :class:`TableWriter`."""
        with whole_file(target) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json_line(record.to_json()) for record in records)


@dataclass(frozen=True)
class CsvTable:
    """A row a picture for spreadsheets: names of tags, best first, their scores, and the caption."""

    name: str = "csv"
    filename: str = "tags.csv"

    def write(self, records: Iterable[PictureRecord], target: Path) -> None:
        """See :class:`TableWriter`."""
        # The mark tells spreadsheets that the file is UTF-8.
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
                cells = [shown(record.path), names, scores, caption, found.model, found.version, found.time]
                rows.writerow([_harmless(cell) for cell in cells])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "," in name or '"' in name else name


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: a file may be called ``=cmd|…``."""
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
