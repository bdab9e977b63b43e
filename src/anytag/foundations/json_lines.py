r"""JSON lines in UTF-8, whatever names are in them.

A name of a file is its bytes read as UTF-8; bytes that are not UTF-8 stand in JSON as ``\udc80`` to ``\udcff``
(Python's ``surrogateescape``), so that ``json.loads(line)["path"].encode("utf-8", "surrogateescape")`` is the name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from anytag.foundations.atomic_files import write_text

#: Fields that hold names of files.
_PATHS = ("path", "overlay")


def path_for_json(path: str | Path) -> str:
    """A path as it stands in JSON: its bytes as UTF-8, in whatever encoding the file system's names are."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def json_line(record: dict[str, Any] | list[dict[str, Any]]) -> str:
    """One line of JSON, with its line break; fields that hold paths as :func:`path_for_json` gives them."""
    if isinstance(record, dict):
        record = record | {key: path_for_json(record[key]) for key in _PATHS if isinstance(record.get(key), str)}
    return writable(json.dumps(record, ensure_ascii=False)) + "\n"


def writable(text: str) -> str:
    r"""The text with everything written out that UTF-8 does not hold: ``\udce9``, as JSON does it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write a file of JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of such a file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
