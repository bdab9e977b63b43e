"""From shards and caption files to everything that training reads; each step is kept and taken up again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from anytag.errors import UsageError
from anytag.language.parser import ParsedTag, load_parser

Report = Callable[[str], None]


def find_shards(root: Path, patterns: Iterable[str], exclude: Iterable[Path] = ()) -> list[Path]:
    """Files under ``root`` that match any of the glob patterns, sorted.

    Raises:
        UsageError: If a pattern matches nothing.
    """
    found: set[Path] = set()
    for pattern in patterns:
        matches = set(root.glob(pattern))
        if not matches:
            raise UsageError(f"no file under {root} matches {pattern!r}; does --data name the right folder?")
        found |= matches
    return sorted(found - set(exclude))


def read_captions(path: Path) -> list[str]:
    """The lines of a text file, gzipped or not; blank ones dropped."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as handle:
        return [line.strip() for line in handle if line.strip()]


def parse_all(captions: Sequence[str], kept: Path, parser: str, report: Report) -> list[list[ParsedTag]]:
    """Parse captions, or read what an earlier call kept.

    Args:
        captions: Sentences.
        kept: JSON lines file for the result.
        parser: ``auto``, ``light`` or ``spacy``.
        report: Receives progress.
    """
    if kept.exists():
        with kept.open(encoding="utf-8") as handle:
            tags = [[ParsedTag(name, kind) for name, kind in json.loads(line)] for line in handle]
        if len(tags) == len(captions):
            return tags
    reader = load_parser(parser)  # type: ignore[arg-type]
    tags = []
    part = kept.with_suffix(".part")
    with part.open("w", encoding="utf-8") as handle:
        for number, parsed in enumerate(reader.parse_many(captions), 1):
            tags.append(parsed)
            handle.write(json.dumps([(t.name, t.kind) for t in parsed]) + "\n")
            if number % 20000 == 0:
                report(f"parsed {number}/{len(captions)} captions with {reader.name}")
    part.replace(kept)
    return tags
