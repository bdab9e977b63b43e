"""Keyword lists in XMP packets: find them, and cut changes into the text around them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from xml.sax.saxutils import escape

from anytag.writers.xmp_tree import RDF, Element

DC = "http://purl.org/dc/elements/1.1/"
LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
DIGIKAM = "http://www.digikam.org/ns/1.0/"

#: Properties that hold keywords: full name, usual prefix, RDF container, and anytag's record of its own entries.
LISTS = (
    (DC + "subject", "dc", "Bag", "Subject"),
    (LIGHTROOM + "hierarchicalSubject", "lr", "Bag", "Hierarchical"),
    (DIGIKAM + "TagsList", "digiKam", "Seq", "TagsList"),
)

#: Start and end of a part of a text, and its replacement.
Change = tuple[int, int, str]


def bag(r: str, property: str, container: str, values: Iterable[str]) -> str:
    """Return a property with a list; ``r`` is RDF's prefix, with its colon."""
    items = "".join(f"<{r}li>{escape(value)}</{r}li>" for value in values)
    return f"<{property}><{r}{container}>{items}</{r}{container}></{property}>"


def appended(text: str, container: Element, values: Sequence[str]) -> Change:
    """Return the change that appends items to an existing list, with the white space of its last item."""
    r = container.prefix(RDF) or "rdf:"
    place, blank = container.inside, ""
    if container.children:
        *_, (before, last) = neighbors(container)
        place, blank = last.end, text[blank_before(text, before, last.start) : last.start]
    items = "".join(f"{blank}<{r}li>{escape(value)}</{r}li>" for value in values)
    if container.single:
        return container.start, container.end, opened(text, container, items)
    return place, place, items


def opened(text: str, element: Element, content: str) -> str:
    """Return an empty-element tag as a pair of tags around ``content``."""
    tag = text[element.start : element.inside]
    name = tag[1:].split(None, 1)[0].removesuffix("/>")
    return f"{tag.removesuffix('/>')}>{content}</{name}>"


def as_single(text: str, element: Element) -> Change:
    """Return the change that turns an empty pair of tags back into an empty-element tag."""
    return element.start, element.end, text[element.start : element.inside - 1] + "/>"


def description(text: str, rdf: Element, properties: Sequence[str], spaces: str = "") -> Change:
    """Return the change that appends a description; ``spaces`` declares namespaces besides those of the lists."""
    r = rdf.prefix(RDF) or "rdf:"
    spaces += f'xmlns:dc="{DC}" xmlns:lr="{LIGHTROOM}" xmlns:digiKam="{DIGIKAM}"'
    block = f'\n  <{r}Description {r}about="" {spaces}>\n   ' + "\n   ".join(properties) + f"\n  </{r}Description>"
    if rdf.single:
        return rdf.start, rdf.end, opened(text, rdf, block)
    place = rdf.children[-1].end if rdf.children else rdf.inside
    return place, place, block


def without_properties(text: str, rdf: Element, names: Collection[str], made_by: str | None = None) -> list[Change]:
    """Return the changes that remove properties, and descriptions that held nothing else.

    ``made_by`` also removes empty descriptions that declare this namespace.
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
    """Yield each child with the offset where its predecessor ends."""
    end = parent.inside
    for child in parent.children:
        yield end, child
        end = child.end


def blank_before(text: str, earliest: int, place: int) -> int:
    """Return where the white space before a place begins."""
    return earliest if not text[earliest:place].strip() else place


def container_of(root: Element, property: str) -> Element | None:
    """Return the RDF list of a property."""
    found = root.find(property)
    if found is None:
        return None
    return next((child for child in found.children if child.name in (RDF + "Bag", RDF + "Seq", RDF + "Alt")), None)


def entries_of(root: Element, property: str) -> list[str]:
    """Return the values of a property's list."""
    container = container_of(root, property)
    return [] if container is None else [item.text for item in container.children if item.name == RDF + "li"]


def apply_changes(text: str, changes: Iterable[Change]) -> str:
    """Apply changes, which must not overlap."""
    for start, end, replacement in sorted(changes, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text
