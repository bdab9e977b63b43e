r"""JSON lines in UTF-8, with file names in any encoding.

Bytes of a file name that are not UTF-8 appear in JSON as ``\udc80`` to ``\udcff`` (Python's ``surrogateescape``), so
that ``json.loads(line)["path"].encode("utf-8", "surrogateescape")`` is the name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from anytag.foundations.atomic_files import write_text

#: Fields that hold paths.
_PATHS = ("path", "overlay")


def path_for_json(path: str | Path) -> str:
    """Return a path for JSON: its bytes decoded as UTF-8, whatever the file system's encoding."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def json_line(record: dict[str, Any] | list[dict[str, Any]]) -> str:
    """Format one line of JSON, with a line break; paths are converted by :func:`path_for_json`."""
    if isinstance(record, dict):
        record = record | {key: path_for_json(record[key]) for key in _PATHS if isinstance(record.get(key), str)}
    return writable(json.dumps(record, ensure_ascii=False)) + "\n"


def writable(text: str) -> str:
    r"""Replace surrogates, which UTF-8 cannot encode, by escapes such as ``\udce9``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write a file of JSON lines atomically."""
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
