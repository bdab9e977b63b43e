"""Keywords that people give a picture, in the same XMP lists as ours and kept apart from them.

Whatever stands in ``dc:subject`` and is not in our own record is a person's. Their keywords outlive ours:
:func:`anytag.writers.xmp.remove` leaves them where they are.
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
from anytag.writers.xmp_tree import RDF, encoding_of, parse, rdf_of, storable

#: What separates a keyword from its parents, in the lists that hold paths.
_SEPARATORS = {LIGHTROOM + "hierarchicalSubject": "|", DIGIKAM + "TagsList": "/"}

_SUBJECT = DC + "subject"


def people_keywords(data: bytes, path: str) -> tuple[str, ...]:
    """The keywords of a packet that are not ours, in their order.

    Raises:
        XmpError: If the packet is not XMP.
    """
    theirs = xmp.remove(data, path)
    return tuple(dict.fromkeys(entries_of(parse(encoding_of(theirs).decode(theirs, path), path), _SUBJECT)))


def edit(
    data: bytes,
    path: str,
    people: Sequence[str],
    refused: Collection[str],
    keywords: Sequence[xmp.Keyword],
    caption: str | None,
    provenance: Provenance,
) -> bytes:
    """Give a packet exactly these keywords of people, and ours but for those that people refuse.

    A keyword of ours that a person gives, too, becomes theirs.

    Args:
        data: The packet.
        path: For messages.
        people: Keywords of people; those that are there and not among these are taken out.
        refused: Names of ours that are not wanted.
        keywords: Ours, best first.
        caption: Ours; ``None``: none.
        provenance: What found ours.

    Returns:
        The new packet; the very same bytes if nothing but the time would change.

    Raises:
        XmpError: If the packet is not XMP.
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
    """An entry without its parents, as names are compared."""
    separator = _SEPARATORS.get(property)
    return (entry.rpartition(separator)[2] if separator else entry).casefold()


def _without(text: str, path: str, names: Collection[str]) -> str:
    """The packet without some keywords, and without lists and descriptions that held nothing else."""
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
    """The packet with keywords in all lists; a name that would be read as a path stands in the plain one alone."""
    root = parse(text, path)
    rdf = rdf_of(root)
    r = rdf.prefix(RDF) or "rdf:"
    changes: list[Change] = []
    own = []
    for property, prefix, kind, _ in LISTS:
        known = {_leaf(property, entry) for entry in entries_of(root, property)}
        separator = _SEPARATORS.get(property)
        new = [name for name in names if name.casefold() not in known and not (separator and separator in name)]
        container = container_of(root, property)
        if not new:
            continue
        if container is None:
            own.append(bag(r, f"{prefix}:{property.rpartition('/')[2]}", kind, new))
        else:
            changes.append(appended(text, container, new))
    if own:
        changes.append(description(text, rdf, own))
    return apply_changes(text, changes)
