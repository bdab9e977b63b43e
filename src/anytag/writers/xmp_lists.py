"""Lists of keywords in XMP packets: finding them, and cutting changes into the text around them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from xml.sax.saxutils import escape

from anytag.writers.xmp_tree import RDF, Element

DC = "http://purl.org/dc/elements/1.1/"
LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
DIGIKAM = "http://www.digikam.org/ns/1.0/"

#: The lists that keywords go into: full name, usual prefix, RDF container, our record of what we added to it.
LISTS = (
    (DC + "subject", "dc", "Bag", "Subject"),
    (LIGHTROOM + "hierarchicalSubject", "lr", "Bag", "Hierarchical"),
    (DIGIKAM + "TagsList", "digiKam", "Seq", "TagsList"),
)


#: A part of a text, given by where it begins and ends, and what takes its place.
Change = tuple[int, int, str]


def bag(r: str, property: str, container: str, values: Iterable[str]) -> str:
    """A property with a list; ``r`` is the prefix of RDF, with its colon."""
    items = "".join(f"<{r}li>{escape(value)}</{r}li>" for value in values)
    return f"<{property}><{r}{container}>{items}</{r}{container}></{property}>"


def appended(text: str, container: Element, values: Sequence[str]) -> Change:
    """Items at the end of a list that is there, laid out as its last one is."""
    r = container.prefix(RDF) or "rdf:"
    if container.children:
        last = container.children[-1]
        before = container.children[-2].end if len(container.children) > 1 else container.inside
        blank = text[before : last.start]
        blank = blank if not blank.strip() else ""
        return last.end, last.end, "".join(f"{blank}<{r}li>{escape(value)}</{r}li>" for value in values)
    items = "".join(f"<{r}li>{escape(value)}</{r}li>" for value in values)
    if not container.single:
        return container.inside, container.inside, items
    return container.start, container.end, opened(text, container, items)


def opened(text: str, element: Element, content: str) -> str:
    """A single tag as a pair of tags with something between them."""
    tag = text[element.start : element.inside]
    name = tag[1:].split(None, 1)[0].removesuffix("/>")
    return f"{tag.removesuffix('/>')}>{content}</{name}>"


def as_single(text: str, element: Element) -> Change:
    """The change that makes an empty pair of tags the single tag that it was."""
    return element.start, element.end, text[element.start : element.inside - 1] + "/>"


def description(text: str, rdf: Element, properties: Sequence[str], spaces: str = "") -> Change:
    """The change that puts a description behind the others.

    Args:
        text: The packet.
        rdf: Its descriptions.
        properties: What the new one holds.
        spaces: Namespaces that it needs beside those of the lists.
    """
    r = rdf.prefix(RDF) or "rdf:"
    spaces += f'xmlns:dc="{DC}" xmlns:lr="{LIGHTROOM}" xmlns:digiKam="{DIGIKAM}"'
    block = f'\n  <{r}Description {r}about="" {spaces}>\n   ' + "\n   ".join(properties) + f"\n  </{r}Description>"
    if rdf.single:
        return rdf.start, rdf.end, opened(text, rdf, block)
    place = rdf.children[-1].end if rdf.children else rdf.inside
    return place, place, block


def without_properties(text: str, rdf: Element, names: Collection[str], made_by: str | None = None) -> list[Change]:
    """The changes that take properties out, with descriptions that held nothing else.

    Args:
        text: The packet.
        rdf: Its descriptions.
        names: Of the properties.
        made_by: Namespace of whoever made descriptions that go when nothing is in them.
    """
    changes: list[Change] = []
    for end, described in neighbors(rdf):
        cuts = [
            (blank_before(text, before, child.start), child.end, "")
            for before, child in neighbors(described)
            if child.name in names
        ]
        tag, inside = text[described.start : described.inside], text[described.inside : described.close]
        bare = set(described.attributes) <= {RDF + "about"} and not described.text.strip() and "<!--" not in inside
        touched = cuts or (made_by is not None and made_by in tag)
        if touched and bare and len(cuts) == len(described.children):
            changes.append((blank_before(text, end, described.start), described.end, ""))
        else:
            changes += cuts
    return changes


def neighbors(parent: Element) -> Iterator[tuple[int, Element]]:
    """Each child with the offset at which what stands before it ends."""
    end = parent.inside
    for child in parent.children:
        yield end, child
        end = child.end


def blank_before(text: str, earliest: int, place: int) -> int:
    """Where the blanks before a place begin."""
    return earliest if not text[earliest:place].strip() else place


def container_of(root: Element, property: str) -> Element | None:
    """The RDF list of a property."""
    found = root.find(property)
    if found is None:
        return None
    return next((child for child in found.children if child.name in (RDF + "Bag", RDF + "Seq", RDF + "Alt")), None)


def entries_of(root: Element, property: str) -> list[str]:
    """The values of a list."""
    container = container_of(root, property)
    return [] if container is None else [item.text for item in container.children if item.name == RDF + "li"]


def apply_changes(text: str, changes: Iterable[Change]) -> str:
    """The text with parts, given by where they begin and end, replaced by others."""
    for start, end, replacement in sorted(changes, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text
