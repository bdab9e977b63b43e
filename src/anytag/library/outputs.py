"""The files that a batch leaves in its output folder: made anew from what is known, each whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from anytag.errors import LibraryError
from anytag.foundations.atomic_files import whole_file
from anytag.foundations.json_lines import json_line
from anytag.library.progress import Progress
from anytag.writers.annotations import CocoAnnotations, FiftyOneDataset, LabelStudioTasks
from anytag.writers.contact_sheet import ContactSheet
from anytag.writers.parquet import ParquetTable
from anytag.writers.records import PictureRecord, TagView
from anytag.writers.tables import CsvTable, JsonLines, TableWriter

#: What could not be recognized, and why.
FAILURES = "failures.jsonl"

#: Writers of one file of all pictures, by name.
TABLES: dict[str, Callable[[], TableWriter]] = {
    "jsonl": JsonLines,
    "csv": CsvTable,
    "parquet": ParquetTable,
    "html": ContactSheet,
    "coco": CocoAnnotations,
    "label-studio": LabelStudioTasks,
    "fiftyone": FiftyOneDataset,
}


def claim_outputs(progress: Progress, names: Iterable[str], folder: Path) -> None:
    """Make sure that nobody else's files are written over.

    Args:
        progress: What is known, also of the files that this batch has written before.
        names: Of :data:`TABLES`.
        folder: Where they go.

    Raises:
        LibraryError: If a file of such a name is there that this batch has not written.
    """
    files = [TABLES[name]().filename for name in names] + [FAILURES]
    for name in files:
        if os.path.lexists(folder / name) and not progress.fact(_written(name), ""):
            raise LibraryError(
                f"{folder / name}: is there already, and this batch did not write it; move it, or give another --out"
            )
    # Before the first is written: a process that is killed on the way leaves files of its own.
    for name in files:
        progress.set_fact(_written(name), "yes")


def own_outputs(progress: Progress, folder: Path) -> Iterator[Path]:
    """The files in the output folder that batches have written there, and those in folders that they have made."""
    for name in [*(make().filename for make in TABLES.values()), FAILURES]:
        if progress.fact(_written(name), ""):
            path = folder / name
            yield from path.iterdir() if path.is_dir() else [path]


def _written(name: str) -> str:
    return f"written {name}"


def write_outputs(progress: Progress, names: Iterable[str], folder: Path, view: TagView) -> list[Path]:
    """Write tables and the list of failures.

    Args:
        progress: What is known.
        names: Of :data:`TABLES`.
        folder: Where they go.
        view: Which tags are written.

    Returns:
        The files, in the order of the names; the list of failures last, if there are any.

    Raises:
        LibraryError: As :func:`claim_outputs`.
        OSError: If one cannot be written.
        MissingExtraError: If a writer needs a package that is not installed.
    """
    names = list(names)
    claim_outputs(progress, names, folder)
    written = []
    for name in names:
        writer = TABLES[name]()
        if isinstance(writer, ContactSheet):
            writer = replace(writer, failures=tuple(progress.failures()))
        records = progress.records(thumbnails=isinstance(writer, ContactSheet))
        writer.write(_viewed(records, view), folder / writer.filename)
        written.append(folder / writer.filename)
    failures = folder / FAILURES
    if any(True for _ in progress.failures()):
        with whole_file(failures) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json_line(failure.to_json()) for failure in progress.failures())
        written.append(failures)
    else:
        failures.unlink(missing_ok=True)
    return written


def _viewed(records: Iterable[PictureRecord], view: TagView) -> Iterator[PictureRecord]:
    for record in records:
        yield view(record)


def table_names(asked: Sequence[str]) -> list[str]:
    """Those of the names that are tables."""
    return [name for name in dict.fromkeys(asked) if name in TABLES]
