"""Convert the members of a shard to samples: members with the same name, up to its first dot, belong together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from anytag.datasets.records import read_boxes, read_captions, read_tags
from anytag.datasets.samples import Sample, TagName
from anytag.datasets.tar_files import Member
from anytag.errors import SampleError, UsageError
from anytag.pictures.formats import FORMATS

#: Extensions of pictures, without the dot, common formats first: a sample with several pictures uses the first (a JPEG
#: rather than its raw file, or a depth map).
_PICTURES = tuple(extension.removeprefix(".") for format in FORMATS for extension in format.extensions)

_READ_EXTENSIONS = {*_PICTURES, "json", "txt", "cls"}

#: Keys of tags, most likely first; ``categories`` are human labels for validation.
_TAG_KEYS = ("tags", "tag", "keywords", "labels", "label", "classes", "class")

#: Roles for which a user may name keys.
_ROLES = ("captions", "tags", "labels", "id", "separator")
NO_KEYS: Mapping[str, tuple[str, ...]] = {}


def keys_of_roles(tags: str | None, columns: Mapping[str, Any] | None, where: str) -> dict[str, tuple[str, ...]]:
    """Return the keys of JSON members by role, as for :class:`~anytag.datasets.webdataset.ShardSource`.

    Raises:
        UsageError: If there is no such role, or tags are given twice.
    """
    given = dict(columns or {})
    if tags is not None:
        if "tags" in given:
            raise UsageError(f"{where}: 'tags' and the 'tags' of 'columns' say the same thing; give one of them")
        given["tags"] = tags
    if unknown := given.keys() - set(_ROLES):
        raise UsageError(
            f"{where}: columns of shards have no role {sorted(unknown)[0]!r}; the roles are {', '.join(_ROLES)}"
        )
    return {
        role: () if value is None else (value,) if isinstance(value, str) else tuple(map(str, value))
        for role, value in given.items()
    }


def to_sample(shard: str, key: str, group: dict[str, bytes], keys: Mapping[str, tuple[str, ...]]) -> Sample | None:
    """Convert members to a sample; ``None`` if none of them is a picture.

    ``key`` is the members' common name, ``group`` their contents by extension; for ``keys`` see :func:`keys_of_roles`.

    Raises:
        SampleError: If a member is malformed.
    """
    extension = picture_of(group)
    if extension is None:
        return None
    source = f"{shard}:{key}.{extension}"
    try:
        text = _member_of(group, "json")
        record: Any = json.loads(text) if text else {}
        if not isinstance(record, dict):
            raise SampleError("row", f"the JSON member holds {record!r:.80}, not an object")
        if (name := _class_name(group)) is not None:
            record.setdefault("class", name)
        by_lower = {name.lower(): name for name in record if _holds_names(record[name])}
        usual = next((by_lower[name] for name in _TAG_KEYS if name in by_lower), _TAG_KEYS[0])
        between = next(iter(keys.get("separator", ())), None)

        def names(role: str, otherwise: str) -> tuple[TagName, ...]:
            return tuple(
                tag for name in keys.get(role, (otherwise,)) for tag in read_tags(record.get(name), name, between)
            )

        own = next((record[name] for name in keys.get("id", ("id",)) if name in record), key)
        return Sample(
            id=str(own),
            picture=group[extension],
            captions=_captions(record, group, keys.get("captions")),
            labels=tuple(tag.name for tag in names("labels", "categories")),
            tags=tuple(dict.fromkeys(names("tags", usual))),
            boxes=read_boxes(record.get("boxes")),
            source=source,
        )
    except SampleError as error:
        raise error.at(source) from error
    except ValueError as error:
        raise SampleError("row", f"a text member is not JSON, or not in UTF-8 ({error})", source) from error


def _captions(record: Mapping[str, Any], group: dict[str, bytes], keys: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the captions under the given keys, or else under the usual keys or in the text member."""
    if keys is not None:
        return tuple(caption for name in keys for caption in read_captions(record.get(name), name))
    captions = read_captions(record.get("captions") or record.get("caption"), "caption")
    lines = _member_of(group, "txt")
    if not captions and lines:
        captions = tuple(line.strip() for line in lines.decode("utf-8").splitlines() if line.strip())
    return captions


def _class_name(group: dict[str, bytes]) -> str | None:
    """Return the name in a ``cls`` member; ``None`` if there is none, or it is a class index."""
    content = _member_of(group, "cls")
    name = content.decode("utf-8").strip() if content else ""
    return name if name and not name.isdigit() else None


def _holds_names(value: object) -> bool:
    """Return whether a field contains names rather than class indices."""
    return isinstance(value, str) or (isinstance(value, list) and any(isinstance(entry, str | dict) for entry in value))


def split(name: str) -> tuple[str, str]:
    """Split a member's name into key and extension, at the first dot of the file name."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    # Hidden files, which some systems pack, have no key.
    return (folder + slash + stem, extension.lower()) if stem else ("", "")


def is_picture(key: str, extension: str) -> bool:
    """Return whether a member is a picture."""
    return bool(key) and extension.rpartition(".")[2] in _PICTURES


def is_read(name: str) -> bool:
    """Return whether a sample needs a member's content."""
    return split(name)[1].rpartition(".")[2] in _READ_EXTENSIONS


def groups(members: Iterable[Member]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Group neighboring members by key; yield the key and their contents by extension."""
    current = ""
    group: dict[str, bytes] = {}
    for member in members:
        key, extension = split(member.name)
        if key != current:
            if current:
                yield current, group
            current, group = key, {}
        if member.content is not None:
            group[extension] = member.content
    if current:
        yield current, group


def picture_of(group: dict[str, bytes]) -> str | None:
    """Return the extension of a sample's picture, preferably a plain one ("jpg" rather than "left.jpg")."""
    plain = next((extension for extension in _PICTURES if extension in group), None)
    return plain or next((e for e in group if e.rpartition(".")[2] in _PICTURES), None)


def _member_of(group: dict[str, bytes], extension: str) -> bytes | None:
    return group.get(extension) or next((group[e] for e in group if e.endswith("." + extension)), None)
