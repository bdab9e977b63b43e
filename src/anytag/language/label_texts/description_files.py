"""Files of tag descriptions: JSON lines, one tag per line, written so that an interrupted run can resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytag.errors import UsageError, VocabularyError
from anytag.foundations.wording import listed
from anytag.language.label_texts.description_templates import Describable
from anytag.model.names import normalize_name
from anytag.recognition import TAG_KINDS, TagKind


@dataclass(frozen=True, slots=True)
class TagDescriptions:
    """The descriptions of a tag.

    Attributes:
        kind: The tag's kind if known, since names alone are not unique.
        model: The language model that wrote them, or what was used instead.
        date: The day on which it did (ISO 8601).
    """

    tag: str
    lines: tuple[str, ...]
    kind: TagKind | None = None
    model: str | None = None
    date: str | None = None

    def to_json(self) -> str:
        """Format one line of the file."""
        known = {"tag": self.tag, "kind": self.kind, "model": self.model, "date": self.date}
        record = {name: value for name, value in known.items() if value is not None}
        return json.dumps({**record, "descriptions": self.lines}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Undescribed:
    """A tag for which the language model wrote too few descriptions."""

    tag: Describable
    reason: str


#: Describes tags: one result per tag, in order.
Describe = Callable[[Sequence[Describable]], Iterator["TagDescriptions | Undescribed"]]

_Key = tuple[str, str | None]


def write_descriptions(
    path: str | Path,
    tags: Iterable[Describable],
    describe: Describe,
    model: str,
    per_tag: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Describe tags into a file, except those that the file or an interrupted run has described.

    Results are appended to ``<path>.part`` at once; when all are there, the file is written atomically, in the tags'
    order. Other tags in the file are kept at its end.

    Args:
        path: The file.
        tags: Tags to describe; of several with the same name and kind, the first.
        describe: Describes the missing tags.
        model: The name of ``describe``'s model; a file holds descriptions by one model.
        per_tag: Descriptions per tag.
        on_progress: Called with the number of tags done and the total.

    Returns:
        The number of newly described tags.

    Raises:
        UsageError: If existing descriptions are by another model, or have another number per tag.
        VocabularyError: If some tags could not be described; the others stay in ``<path>.part``.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    wanted: dict[_Key, Describable] = {}
    for tag in tags:
        wanted.setdefault(_key(tag.name, tag.kind), tag)
    known: dict[_Key, TagDescriptions] = {}
    for source in (path, part):
        if source.is_file():
            if source == part:
                _drop_torn_line(part)
            for found in read_descriptions(source, may_be_empty=source == part):
                if found.model != model or len(found.lines) != per_tag:
                    raise UsageError(
                        f"{source} has {len(found.lines)} descriptions per tag by {found.model or 'an unknown model'}, "
                        f"not {per_tag} by {model}; finish it with the same options, name another file, or remove it"
                    )
                known[_key(found.tag, found.kind)] = found
    missing = [tag for key, tag in wanted.items() if key not in known]
    done = len(wanted) - len(missing)
    undescribed: list[Undescribed] = []
    if on_progress is not None:
        on_progress(done, len(wanted))
    if missing:
        try:
            with part.open("a", encoding="utf-8") as lines:
                for result in describe(missing):
                    if isinstance(result, Undescribed):
                        undescribed.append(result)
                    else:
                        lines.write(result.to_json() + "\n")
                        lines.flush()
                        known[_key(result.tag, result.kind)] = result
                    done += 1
                    if on_progress is not None:
                        on_progress(done, len(wanted))
        finally:
            if not part.stat().st_size:
                part.unlink()
    if undescribed:
        first = undescribed[0]
        raise VocabularyError(
            f"{len(undescribed)} of {len(wanted)} tags could not be described, the first is {first.tag.name!r}: "
            f"{first.reason}. The others are in {part}; run the same command again, or start over with another model"
        )
    whole = path.with_name(path.name + ".whole.part")
    ordered = [known.pop(key) for key in wanted]
    whole.write_text("".join(f"{found.to_json()}\n" for found in [*ordered, *known.values()]), encoding="utf-8")
    whole.replace(path)
    part.unlink(missing_ok=True)
    return len(missing)


def read_descriptions(path: str | Path, may_be_empty: bool = False) -> list[TagDescriptions]:
    """Read a file of descriptions, in its order.

    Args:
        path: JSON lines as written by :func:`write_descriptions`, or the layout of RAM++'s official files: a JSON list
            of objects (or one object) that map tags to lists of descriptions, possibly grouped by question.
        may_be_empty: Whether a file without tags is valid.

    Raises:
        VocabularyError: If the file is missing or malformed; the message names the line or entry.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise VocabularyError(f"{path}: no such file of descriptions") from None
    except (UnicodeDecodeError, OSError) as error:
        raise VocabularyError(f"{path}: cannot be read as text ({error})") from None
    found = list(_read_published(text, path) if _is_one_value(text) else _read_lines(text, path))
    if not found and not may_be_empty:
        raise VocabularyError(f"{path}: there are no descriptions in it")
    return found


def lines_of(tags: Iterable[Describable], descriptions: Iterable[TagDescriptions]) -> list[list[str]]:
    """Return the tags' descriptions, matched by name and kind, or else by name.

    Raises:
        VocabularyError: If a tag has none.
    """
    table: dict[_Key, tuple[str, ...]] = {}
    for one in descriptions:
        table.setdefault(_key(one.tag, one.kind), one.lines)
        table.setdefault((normalize_name(one.tag), "any"), one.lines)
    rows: list[list[str]] = []
    missing: list[str] = []
    for tag in tags:
        keys = (_key(tag.name, tag.kind), _key(tag.name, None), (normalize_name(tag.name), "any"))
        lines = next((table[key] for key in keys if key in table), None)
        rows.append(list(lines or ()))
        if lines is None:
            missing.append(tag.name)
    if missing:
        raise VocabularyError(
            f"{len(missing)} tags have no descriptions: {listed(missing)}; add them with: anytag vocabulary describe"
        )
    return rows


def _key(name: str, kind: TagKind | None) -> _Key:
    return normalize_name(name), kind


def _is_one_value(text: str) -> bool:
    """Return whether the text is one JSON value over several lines, rather than one per line."""
    first, _, rest = text.lstrip().partition("\n")
    if first.startswith("["):
        return True
    try:
        record = json.loads(first)
    except ValueError:
        return first.strip() == "{"
    return isinstance(record, dict) and "descriptions" not in record and not rest.strip()


def _read_lines(text: str, path: Path) -> Iterator[TagDescriptions]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise VocabularyError(f"{where}: not JSON ({error})") from None
        if not isinstance(record, dict) or not isinstance(record.get("tag"), str) or not record["tag"].strip():
            raise VocabularyError(f"{where}: there is no tag; a line is an object with tag and descriptions")
        kind = record.get("kind")
        if kind is not None and kind not in TAG_KINDS:
            raise VocabularyError(f"{where}: unknown kind {kind!r}; kinds are {', '.join(TAG_KINDS)}")
        lines = _checked(record.get("descriptions"), where)
        model, date = (value if isinstance(value := record.get(key), str) else None for key in ("model", "date"))
        yield TagDescriptions(record["tag"], lines, kind, model, date)


def _read_published(text: str, path: Path) -> Iterator[TagDescriptions]:
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise VocabularyError(f"{path}: line {error.lineno}: not JSON ({error.msg})") from None
    entries = record if isinstance(record, list) else [record]
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not entry:
            raise VocabularyError(f"{path}: entry {number}: not an object from a tag to its descriptions")
        for tag, lines in entry.items():
            where = f"{path}: entry {number} ({tag!r})"
            if not tag.strip():
                raise VocabularyError(f"{where}: the tag has no name")
            if isinstance(lines, dict):
                lines = [line for group in lines.values() for line in _checked(group, where)]
            yield TagDescriptions(tag, _checked(lines, where))


def _checked(lines: Any, where: str) -> tuple[str, ...]:
    if not isinstance(lines, list) or not lines:
        raise VocabularyError(f"{where}: descriptions are a list of texts, at least one")
    for number, line in enumerate(lines, 1):
        if not isinstance(line, str) or not line.strip():
            raise VocabularyError(f"{where}: description {number} is empty or not a text: {line!r}")
    return tuple(lines)


def _drop_torn_line(part: Path) -> None:
    """Cut off an incomplete last line, which an interrupted run left."""
    content = part.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with part.open("r+b") as file:
            file.truncate(whole)
