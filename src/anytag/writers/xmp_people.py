"""Keywords that people gave a picture, in the same XMP lists as anytag's but kept apart from them.

An entry of ``dc:subject`` that is not in anytag's own record is a person's. :func:`anytag.writers.xmp.remove` keeps
them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from anytag.writers import xmp
from anytag.writers.records import Provenance
from anytag.writers.xmp_lists import (
    DC,
    DIGIKAM,
    LIGHTROOM,
    LISTS,
    Change,
    appended,
    apply_changes,
    bag,
    blank_before,
    container_of,
    description,
    entries_of,
    neighbors,
    without_properties,
)
from anytag.writers.xmp_tree import RDF, encoding_of, parse, parse_packet, rdf_of, storable

#: Separator between a keyword and its parents, in the hierarchical lists.
_SEPARATORS = {LIGHTROOM + "hierarchicalSubject": "|", DIGIKAM + "TagsList": "/"}

_SUBJECT = DC + "subject"


def people_keywords(data: bytes, path: str) -> tuple[str, ...]:
    """Return the keywords of a packet that anytag did not write, in order.

    Raises:
        XmpError: If the packet is not XMP.
    """
    return tuple(dict.fromkeys(entries_of(parse_packet(xmp.remove(data, path), path), _SUBJECT)))


def edit(
    data: bytes,
    path: str,
    people: Sequence[str],
    refused: Collection[str],
    keywords: Sequence[xmp.Keyword],
    caption: str | None,
    provenance: Provenance,
) -> bytes:
    """Give a packet exactly these keywords of people, and anytag's except the refused ones.

    A keyword of anytag's that a person gives, too, becomes theirs. See :func:`anytag.writers.xmp.update` for the other
    arguments, and for what is returned and raised.
    """
    people = [storable(name) for name in people]
    if people_keywords(data, path) == tuple(people):
        return xmp.update(data, path, keywords, caption, provenance, refused)
    encoding = encoding_of(data)
    text = encoding.decode(xmp.remove(data, path), path)
    wanted = {name.casefold() for name in people}
    there = {name.casefold() for name in entries_of(parse(text, path), _SUBJECT)}
    text = _without(text, path, there - wanted)
    text = _with(text, path, [name for name in people if name.casefold() not in there])
    return xmp.update(encoding.encode(text), path, keywords, caption, provenance, refused)


def _leaf(property: str, entry: str) -> str:
    """Return an entry without its parents, case-folded."""
    separator = _SEPARATORS.get(property)
    return (entry.rpartition(separator)[2] if separator else entry).casefold()


def _without(text: str, path: str, names: Collection[str]) -> str:
    """Remove keywords, and lists and descriptions that held nothing else."""
    root = parse(text, path)
    changes: list[Change] = []
    emptied = set()
    for property, _, _, _ in LISTS:
        container = container_of(root, property)
        if container is None:
            continue
        gone = [(before, item) for before, item in neighbors(container) if _leaf(property, item.text) in names]
        if gone and len(gone) == len(container.children):
            emptied.add(property)
        else:
            changes += [(blank_before(text, before, item.start), item.end, "") for before, item in gone]
    return apply_changes(text, changes + without_properties(text, rdf_of(root), emptied))


def _with(text: str, path: str, names: Sequence[str]) -> str:
    """Add keywords to all lists; names that contain a list's separator are left out of it."""
    root = parse(text, path)
    r = rdf_of(root).prefix(RDF) or "rdf:"
    changes: list[Change] = []
    own = []
    for property, prefix, kind, _ in LISTS:
        known = {_leaf(property, entry) for entry in entries_of(root, property)}
        separator = _SEPARATORS.get(property)
        new = [name for name in names if name.casefold() not in known and not (separator and separator in name)]
        if not new:
            continue
        if (container := container_of(root, property)) is None:
            own.append(bag(r, f"{prefix}:{property.rpartition('/')[2]}", kind, new))
        else:
            changes.append(appended(text, container, new))
    if own:
        changes.append(description(text, rdf_of(root), own))
    return apply_changes(text, changes)
