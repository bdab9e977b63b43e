"""Read the files in ``anytag/language/data``."""

from __future__ import annotations

import gzip
from importlib.resources import files


def read_data(name: str) -> str:
    """Return a file's text, decompressed if its name ends in ``.gz``."""
    content = (files("anytag.language") / "data" / name).read_bytes()
    return (gzip.decompress(content) if name.endswith(".gz") else content).decode("utf-8")


def data_lines(name: str) -> list[str]:
    """Return a file's lines, without blank lines and comments (``#``)."""
    return [line.strip() for line in read_data(name).splitlines() if line.strip() and not line.startswith("#")]
