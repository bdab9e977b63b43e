"""Convert records with named fields (a table's row, a JSON object) to samples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytag.datasets.remote import fetch, is_web_address
from anytag.datasets.samples import Box, Sample, TagName
from anytag.errors import SampleError, UsageError

#: Usual names of columns, most likely first.
_PICTURE_NAMES = (
    *("picture", "image", "image_path", "img", "img_path", "image_file", "file_name", "filename", "file", "filepath"),
    *("file_path", "photo", "path", "image_url", "url"),
)
_CAPTION_NAMES = (
    *("captions", "caption", "texts", "text", "sentences", "sentence", "descriptions", "description"),
    *("alt_text", "alt", "title"),
)
_TAG_NAMES = ("tags", "tag", "keywords", "labels", "label", "categories", "category", "classes", "class")
_BOX_NAMES = ("boxes", "bboxes")
_ID_NAMES = ("id", "image_id", "key", "uid")

#: Separators of tags in a text; the first that occurs is used.
_SEPARATORS = ("|", ";", ",")

_ROLES = ("picture", "captions", "tags", "labels", "boxes", "id", "separator")


@dataclass(frozen=True, slots=True)
class Columns:
    """The fields of a record by role.

    Attributes:
        picture: A path, a web address, or (in Parquet) the encoded bytes.
        captions: Fields with a caption or a list of captions.
        tags: Fields with tags: a list, or a text with separators.
        labels: Fields with labels for validation only.
        boxes: A list of ``{"box": [x0, y0, x1, y1], "label": name}``, as shares of the picture's size.
        separator: Separator of tags in a text; ``None``: the first of ``|``, ``;`` and ``,`` that occurs.
    """

    picture: str | None
    captions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    boxes: str | None = None
    id: str | None = None
    separator: str | None = None

    def __str__(self) -> str:
        values = {role: getattr(self, role) for role in _ROLES if role != "separator"}
        named = ((role, [value] if isinstance(value, str) else list(value or ())) for role, value in values.items())
        return ", ".join(f"{role} from {' and '.join(map(repr, value))}" for role, value in named if value)


def choose_columns(names: Sequence[str], given: Mapping[str, Any] | None, where: str) -> Columns:
    """Choose the columns of each role, as given or by their names.

    Args:
        names: The columns.
        given: By role (``picture``, ``captions``, ``tags``, ``labels``, ``boxes``, ``id``) the name of a column,
            several names, or ``None`` for no column; ``separator`` for that of tags. Numbers count as names.
        where: The file, for messages.

    Raises:
        UsageError: If a column or role does not exist, or there is no column with pictures, or none that describes
            them.
    """
    given = dict(given or {})
    if unknown := given.keys() - set(_ROLES):
        raise UsageError(f"{where}: columns have no role {sorted(unknown)[0]!r}; the roles are {', '.join(_ROLES)}")
    by_lower = {name.strip().lower(): name for name in reversed(names)}

    def asked(role: str, usual: Iterable[str], numbered: str = "") -> tuple[str, ...]:
        if role in given:
            value = given[role]
            wanted = () if value is None else (value,) if isinstance(value, str | int) else tuple(value)
            for name in wanted:
                if str(name) not in names:
                    raise UsageError(f"{where}: no column {str(name)!r}; the columns are {_listed(names)}")
            return tuple(str(name) for name in wanted)
        if found := next((by_lower[name] for name in usual if name in by_lower), None):
            return (found,)
        return tuple(n for n in names if re.fullmatch(rf"{numbered}[_ -]?\d+", n.strip().lower())) if numbered else ()

    def single(role: str, usual: Iterable[str]) -> str | None:
        found = asked(role, usual)
        if len(found) > 1:
            raise UsageError(f"{where}: {role} is one column, not {_listed(found)}")
        return found[0] if found else None

    columns = Columns(
        picture=single("picture", _PICTURE_NAMES),
        captions=asked("captions", _CAPTION_NAMES, "caption"),
        tags=asked("tags", () if "labels" in given else _TAG_NAMES),
        labels=asked("labels", ()),
        boxes=single("boxes", _BOX_NAMES),
        id=single("id", _ID_NAMES),
        separator=given.get("separator"),
    )
    if columns.picture is None:
        raise UsageError(
            f"{where}: no column is named like pictures; call it 'image', or name it in a recipe or in Python with "
            f"columns={{'picture': NAME}}. The columns are {_listed(names)}"
        )
    if not (columns.captions or columns.tags or columns.labels or columns.boxes or given):
        raise UsageError(
            f"{where}: no column is named like captions or tags; call one 'captions' or 'tags', or name it in "
            "a recipe or in Python with columns={'captions': NAME} or columns={'tags': NAME}. The columns are "
            f"{_listed(names)}"
        )
    return columns


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def to_sample(record: Mapping[str, Any], columns: Columns, source: str, folder: Path, id: str) -> Sample:
    """Convert a record to a sample.

    Relative paths of pictures start at ``folder``; ``source`` is the record's place, and ``id`` its id if it has none.

    Raises:
        SampleError: If a field is malformed, or a web address does not answer.
    """
    try:
        own = record.get(columns.id) if columns.id else None
        return Sample(
            id=id if own is None or own == "" else str(own),
            picture=_picture(record, columns.picture, folder),
            captions=tuple(text for name in columns.captions for text in read_captions(record.get(name), name)),
            labels=tuple(tag.name for name in columns.labels for tag in _tags(record, name, columns)),
            tags=tuple(dict.fromkeys(tag for name in columns.tags for tag in _tags(record, name, columns))),
            boxes=read_boxes(record.get(columns.boxes)) if columns.boxes else (),
            source=source,
        )
    except SampleError as error:
        raise error.at(source) from error.__cause__


def _picture(record: Mapping[str, Any], name: str | None, folder: Path) -> bytes | Path:
    value = record.get(name) if name else None
    if isinstance(value, Mapping):
        # Hugging Face's image columns.
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | bytearray | memoryview) and len(value):
        return bytes(value)
    if not isinstance(value, str) or not value.strip():
        what = "is empty" if not value else f"holds {type(value).__name__}, neither a path nor a picture"
        raise SampleError("picture", f"the field {name!r} {what}")
    value = value.strip()
    return fetch(value) if is_web_address(value) else folder / value


def read_captions(value: object, name: str) -> tuple[str, ...]:
    """Read captions from a field: a caption, a list of captions, or such a list as JSON; blank ones are dropped."""
    if isinstance(value, str) and value.lstrip().startswith('["'):
        value = _from_json(value, name, "captions")
    sentences = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(sentences, Sequence) or not all(isinstance(sentence, str) for sentence in sentences):
        raise SampleError("captions", f"the field {name!r} holds {value!r:.80}, neither a sentence nor a list of them")
    return tuple(sentence.strip() for sentence in sentences if sentence.strip())


def read_tags(value: object, name: str, separator: str | None = None) -> tuple[TagName, ...]:
    """Read tags from a field: names with separators, a list of names, or of ``{"name", "kind"}``."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _from_json(value, name, "tags")
    if isinstance(value, str):
        between = separator or next((sign for sign in _SEPARATORS if sign in value), None)
        value = [part for part in (value.split(between) if between else [value]) if part.strip()]
    found = []
    for tag in [] if value is None else value if isinstance(value, Sequence) else [value]:
        if isinstance(tag, Mapping):
            found.append(TagName(tag.get("name", ""), tag.get("kind")))
        elif isinstance(tag, str):
            found.append(TagName(tag.strip()))
        else:
            raise SampleError("tags", f"the field {name!r} holds {tag!r:.80}, not the name of a tag")
    return tuple(found)


def _tags(record: Mapping[str, Any], name: str, columns: Columns) -> tuple[TagName, ...]:
    return read_tags(record.get(name), name, columns.separator)


def read_boxes(value: Any) -> tuple[Box, ...]:
    """Read boxes from a field: a list of ``{"box": [x0, y0, x1, y1], "label": name}``, or such a list as JSON."""
    if isinstance(value, str):
        value = _from_json(value, "boxes", "boxes") if value.strip() else None
    found = []
    for entry in value if isinstance(value, Sequence) else () if value is None else (value,):
        sides = (entry.get("box") or entry.get("bbox")) if isinstance(entry, Mapping) else None
        if not isinstance(sides, Sequence) or len(sides) != 4:
            raise SampleError("boxes", f'a box is {{"box": [x0, y0, x1, y1], "label": name}}, not {entry!r:.80}')
        left, upper, right, lower = sides
        found.append(Box(left, upper, right, lower, entry.get("label", "")))
    return tuple(found)


def _from_json(text: str, name: str, kind: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SampleError(kind, f"the field {name!r} begins like JSON and is not ({error})") from None
