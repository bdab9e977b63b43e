"""Expand paths, globs, brace ranges and addresses to a list of shards."""

from __future__ import annotations

import re
from collections.abc import Iterable
from glob import glob
from itertools import product
from pathlib import Path

from anytag.datasets.remote import is_web_address, local_path
from anytag.errors import UsageError


def expand_shards(patterns: Iterable[str | Path]) -> list[str]:
    """Return the paths and addresses that globs and brace ranges match, in order.

    Raises:
        UsageError: If a file does not exist or a pattern matches none.
    """
    found: list[str] = []
    for pattern in map(str, patterns):
        for name in [pattern] if Path(pattern).is_file() else expand_braces(pattern):
            path = local_path(name)
            name = str(path) if path is not None else name
            if is_web_address(name) or Path(name).is_file():
                found.append(name)
                continue
            matches = sorted(glob(name, recursive=True))  # noqa: PTH207 (Path.glob wants a folder to start from)
            if Path(name).is_dir():
                matches = sorted(map(str, (p for p in Path(name).iterdir() if is_shard_name(p.name))))
            if not matches:
                raise UsageError(f"{name}: no such shard" if name == pattern else f"{name}: no such shard ({pattern})")
            found += matches
    return found


def is_shard_name(name: str) -> bool:
    """Return whether a file is named like a shard."""
    return re.search(r"\.(tar(\.(gz|bz2|xz))?|tgz)$", name.lower()) is not None


def expand_braces(pattern: str) -> list[str]:
    """Expand ``{000..099}`` and ``{a,b}`` in a pattern, the last range running fastest.

    Raises:
        UsageError: If a range runs backwards.
    """
    pieces: list[list[str]] = []
    for piece in re.split(r"(\{[^{}]*\})", pattern):
        span = re.fullmatch(r"\{(\d+)\.\.(\d+)\}", piece)
        if span:
            first, last = span.groups()
            if int(first) > int(last):
                raise UsageError(f"{pattern}: the range {piece} runs backwards")
            width = len(first) if first.startswith("0") or len(first) == len(last) else 0
            pieces.append([str(number).zfill(width) for number in range(int(first), int(last) + 1)])
        elif piece.startswith("{") and "," in piece:
            pieces.append(piece[1:-1].split(","))
        else:
            pieces.append([piece])
    return ["".join(parts) for parts in product(*pieces)]
