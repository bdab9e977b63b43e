"""Files in a batch's output folder: rewritten from the recorded results, each whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from anytag.errors import LibraryError
from anytag.foundations.atomic_files import whole_file
from anytag.foundations.json_lines import json_line
from anytag.library.progress import Progress
from anytag.writers.annotations import write_coco, write_fiftyone, write_label_studio
from anytag.writers.contact_sheet import write_contact_sheet
from anytag.writers.records import TagView
from anytag.writers.tables import write_csv, write_jsonl, write_parquet

#: Pictures that could not be recognized, and why.
FAILURES = "failures.jsonl"

#: Files of all pictures, by the name that ``--write`` takes: name in the output folder, and what writes it.
TABLES: dict[str, tuple[str, Callable[..., None]]] = {
    "jsonl": ("tags.jsonl", write_jsonl),
    "csv": ("tags.csv", write_csv),
    "parquet": ("tags.parquet", write_parquet),
    "html": ("contact-sheet.html", write_contact_sheet),
    "coco": ("coco.json", write_coco),
    "label-studio": ("label-studio.json", write_label_studio),
    "fiftyone": ("fiftyone", write_fiftyone),
}


def claim_outputs(progress: Progress, names: Iterable[str], folder: Path) -> None:
    """Record the output files as this batch's, so that no other file is overwritten.

    Raises:
        LibraryError: If one of the files exists and was not written by this batch.
    """
    files = [TABLES[name][0] for name in names] + [FAILURES]
    for name in files:
        if os.path.lexists(folder / name) and not progress.value(_written(name), ""):
            raise LibraryError(
                f"{folder / name}: already exists and was not written by this batch; move it, or give another --out"
            )
    # Before the first file is written, so that a killed process still owns what it left.
    for name in files:
        progress.set_value(_written(name), "yes")


def own_outputs(progress: Progress, folder: Path) -> Iterator[Path]:
    """Yield the files that batches wrote to the output folder, and those in the folders they made there."""
    for name in [*(filename for filename, _ in TABLES.values()), FAILURES]:
        if progress.value(_written(name), ""):
            path = folder / name
            yield from path.iterdir() if path.is_dir() else [path]


def _written(name: str) -> str:
    return f"written {name}"


def write_outputs(progress: Progress, names: Iterable[str], folder: Path, view: TagView) -> list[Path]:
    """Write tables and, if there are failures, their list; return the files.

    Raises:
        LibraryError: If a file exists that this batch did not write.
        OSError: If a file cannot be written.
        MissingExtraError: If a writer needs a package that is not installed.
    """
    names = list(names)
    claim_outputs(progress, names, folder)
    for name in names:
        filename, write = TABLES[name]
        on_sheet: dict[str, Any] = {"failures": tuple(progress.failures())} if name == "html" else {}
        write(map(view, progress.records(thumbnails=name == "html")), folder / filename, **on_sheet)
    written = [folder / TABLES[name][0] for name in names]
    failures = folder / FAILURES
    if not any(True for _ in progress.failures()):
        failures.unlink(missing_ok=True)
        return written
    with whole_file(failures) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json_line(failure.to_json()) for failure in progress.failures())
    return [*written, failures]
