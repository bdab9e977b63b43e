"""Options that take a list: comma-separated on the command line, or one entry per line of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anytag.errors import UsageError
from anytag.language.tags.name_files import read_name_lines, split_names
from anytag.recognition import TAG_KINDS, TagKind

#: Extensions of files that hold lists.
_LISTS = (".txt", ".csv", ".tsv", ".list", ".lst")


def read_names(given: Sequence[str] | None, file: Path | None, option: str) -> list[str] | None:
    """Return the names of a repeatable option, comma-separated, then those of its file; ``None`` if neither is given.

    Raises:
        UsageError: If a list is malformed or the file cannot be read.
    """
    if given is None and file is None:
        return None
    names = [name for text in given or () for name in split_names(text, option)]
    return names + [name for name, _ in read_name_lines(file)] if file else names


def read_kinds(given: Sequence[str] | None) -> list[TagKind] | None:
    """Return the kinds of tags; ``None`` for all.

    Raises:
        UsageError: If a kind does not exist.
    """
    names = read_names(given, None, "--kind")
    if not names:
        return None
    known = {str(kind): kind for kind in TAG_KINDS}
    for name in names:
        if name.lower() not in known:
            raise UsageError(f"--kind: unknown kind {name!r}; kinds are {', '.join(TAG_KINDS)}")
    return [known[name.lower()] for name in names]


def read_choice(given: Sequence[str] | None, file: Path | None, option: str) -> Path | list[str] | None:
    """Return the tags of an option, or the file that lists them, so that messages can name its lines.

    A single value that is a file, or looks like one, is that file.
    """
    if given is not None and file is None and len(given) == 1 and is_list_file(given[0]):
        file, given = Path(given[0]), None
    return file if given is None else read_names(given, file, option)


def read_pairs(given: Sequence[str] | None, file: Path | None, option: str) -> Path | dict[str, str] | None:
    """Return new names by tag, or the file that lists them.

    Raises:
        UsageError: If an entry is not ``tag=new name``.
    """
    chosen = read_choice(given, file, option)
    if not isinstance(chosen, list):
        return chosen
    pairs: dict[str, str] = {}
    for text in chosen:
        tag, sign, name = (part.strip() for part in text.partition("="))
        if not (tag and sign and name):
            raise UsageError(f"{option}: {text!r} is neither 'tag=new name' nor a file of such lines")
        if pairs.setdefault(tag, name) != name:
            raise UsageError(f"{option}: {tag!r} has two new names, {pairs[tag]!r} and {name!r}")
    return pairs


def is_list_file(value: str) -> bool:
    """Whether the value of an option is a file name rather than a list."""
    return value.lower().endswith(_LISTS) or "/" in value or "\\" in value or Path(value).is_file()
