"""Tags and captions in XMP packets, next to whatever else they hold.

What people wrote is never changed: keywords are added to theirs, and a description is written only if there is none.
A namespace of anytag's own lists everything that anytag wrote, with model, version, score and time, so that
:func:`remove` removes exactly that and leaves the rest unchanged, to the byte.

Properties (XMP specification, parts 1 and 2; Lightroom's and digiKam's own for paths):

* ``dc:subject``: names of tags,
* ``lr:hierarchicalSubject``: paths with bars, ``animal|dog``, and ``digiKam:TagsList``: with slashes, ``animal/dog``,
* ``dc:description``: the caption.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from xml.sax.saxutils import escape

from anytag import __version__
from anytag.writers.iptc import Added
from anytag.writers.records import Provenance
from anytag.writers.xmp_lists import (
    DC,
    LISTS,
    Change,
    appended,
    apply_changes,
    as_single,
    bag,
    blank_before,
    container_of,
    description,
    entries_of,
    neighbors,
    without_properties,
)
from anytag.writers.xmp_tree import RDF, Element, encoding_of, parse, parse_packet, rdf_of, storable

#: Namespace of anytag's own properties.
OURS = "urn:anytag:xmp:1.0/"

_META = "adobe:ns:meta/"

#: Parts of an IPTC block besides keywords that anytag may have added; fields of :class:`~anytag.writers.iptc.Added`.
_ADDED = ("caption", "character_set", "envelope", "block")


@dataclass(frozen=True, slots=True)
class Keyword:
    """A tag as XMP stores it; ``path`` leads from its most general parent to itself, for the hierarchical lists."""

    name: str
    path: tuple[str, ...]
    score: float  # In [0, 1].
    kind: str


@dataclass(frozen=True, slots=True)
class IptcContent:
    """The content of a picture's IPTC block, which the packet must agree with.

    Attributes:
        people: Keywords that anytag did not write.
        has_caption: Whether it holds somebody else's caption.
        added: What anytag added.
    """

    people: tuple[str, ...] = ()
    has_caption: bool = False
    added: Added = field(default_factory=Added)


def skeleton() -> bytes:
    """Return an empty packet."""
    return (
        "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>\n"
        f"<x:xmpmeta xmlns:x='{_META}' x:xmptk='anytag {__version__}'>\n"
        f" <rdf:RDF xmlns:rdf='{RDF}'>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
        "<?xpacket end='w'?>\n"
    ).encode()


def is_empty(data: bytes, path: str) -> bool:
    """Whether a packet was created by anytag and holds nothing else anymore."""
    root = parse_packet(data, path)
    made = root.attributes.get(_META + "xmptk", "").startswith("anytag ")
    return made and not rdf_of(root).children and len(root.children) == 1


def update(
    data: bytes,
    path: str,
    keywords: Sequence[Keyword],
    caption: str | None,
    provenance: Provenance,
    refused: Collection[str] | None = None,
    iptc: IptcContent | None = None,
) -> bytes:
    """Write tags and a caption into a packet, replacing those that anytag wrote before.

    A keyword of anytag's that somebody removed from ``dc:subject`` stays out.

    Args:
        data: The packet.
        path: Named in messages.
        keywords: Tags, best first.
        caption: The caption, if any.
        provenance: The model that made them.
        refused: Names of tags to leave out; ``None``: those that people removed before.
        iptc: The picture's IPTC block. If the packet has no keywords yet, the block's keywords are copied to
            ``dc:subject``, because programs that find keywords in XMP show no others.

    Returns:
        The new packet; the same bytes if only the time would change.

    Raises:
        XmpError: If the packet is not XMP.
    """
    keywords = [
        replace(keyword, name=storable(keyword.name), path=tuple(map(storable, keyword.path))) for keyword in keywords
    ]
    caption = None if caption is None else storable(caption)
    encoding = encoding_of(data)
    text = encoding.decode(data, path)
    root = parse(text, path)
    old = Ours.of(root)
    before = old.refused if old is not None else frozenset()
    unwanted = before if refused is None else frozenset(name.casefold() for name in refused)
    iptc = iptc or IptcContent()
    if old is not None and old.same(keywords, caption, provenance) and (unwanted, iptc.added) == (before, old.added):
        return data
    if old is not None:
        text = _remove(text, path, iptc.people)
        root = parse(text, path)
    kept = [keyword for keyword in keywords if keyword.name.casefold() not in unwanted]
    return encoding.encode(_insert(text, root, keywords, kept, sorted(unwanted), caption, provenance, iptc))


def remove(data: bytes, path: str, people: Collection[str] = ()) -> bytes:
    """Remove everything that anytag wrote into a packet; return the same bytes if there is nothing.

    ``people`` are keywords of the IPTC block that anytag did not write. Copies of them are removed; copies of keywords
    that the block no longer has stay.

    Raises:
        XmpError: If the packet is not XMP.
    """
    encoding = encoding_of(data)
    text = encoding.decode(data, path)
    return data if Ours.of(parse(text, path)) is None else encoding.encode(_remove(text, path, people))


@dataclass(frozen=True, slots=True)
class Ours:
    """What anytag wrote into a packet.

    Attributes:
        tags: Names and scores.
        refused: Names of tags that people removed, case-folded.
        added: What anytag added to the picture's IPTC block.
    """

    tags: tuple[tuple[str, str], ...] = ()
    model: str = ""
    version: str = ""
    caption: str | None = None
    refused: frozenset[str] = frozenset()
    added: Added = field(default_factory=Added)

    @staticmethod
    def read(data: bytes, path: str) -> Ours:
        """Read it from a packet; empty if there is nothing."""
        return Ours.of(parse_packet(data, path)) or Ours()

    @staticmethod
    def of(root: Element) -> Ours | None:
        """Read it from a parsed packet; ``None`` if there is nothing."""
        if not any(element.name.startswith(OURS) for element in root.walk()):
            return None
        names = [item.text.strip() for item in root.walk() if item.name == OURS + "Name"]
        scores = [item.text.strip() for item in root.walk() if item.name == OURS + "Score"]
        caption, created = root.find(OURS + "Caption"), _recorded(root, "Created")
        there = {name.casefold() for name in entries_of(root, DC + "subject")}
        gone = {name.casefold() for name in _recorded(root, "Subject") + _recorded(root, "Repeated")} - there
        gone |= {name.casefold() for name in _recorded(root, "Refused")}
        return Ours(
            tuple(zip(names, scores, strict=False)),
            _text(root, "Model"),
            _text(root, "Version"),
            caption.text if caption is not None else None,
            frozenset(gone),
            Added(tuple(_recorded(root, "InIptc")), *(f"Iptc {name}" in created for name in _ADDED)),
        )

    def same(self, keywords: Sequence[Keyword], caption: str | None, provenance: Provenance) -> bool:
        """Whether these were written, whatever the time."""
        tags = tuple((keyword.name, f"{keyword.score:.4f}") for keyword in keywords)
        made = (self.model, self.version) == (provenance.model, provenance.version)
        return made and self.tags == tags and self.caption == caption


def _insert(
    text: str,
    root: Element,
    keywords: Sequence[Keyword],
    kept: Sequence[Keyword],
    refused: Sequence[str],
    caption: str | None,
    provenance: Provenance,
    iptc: IptcContent,
) -> str:
    """Add anytag's description, and keywords to the lists that exist."""
    rdf = rdf_of(root)
    r = rdf.prefix(RDF) or "rdf:"
    values = {
        "Subject": [keyword.name for keyword in kept],
        "Hierarchical": ["|".join(keyword.path) for keyword in kept],
        "TagsList": ["/".join(keyword.path) for keyword in kept],
    }
    changes: list[Change] = []
    own: list[str] = []
    made: list[str] = []
    for name, prefix, container, record in LISTS:
        there = container_of(root, name)
        repeated: list[str] = []
        if name == DC + "subject" and there is None:
            repeated = [word for word in dict.fromkeys(iptc.people) if word.casefold() not in refused]
            own += [bag(r, "anytag:Repeated", "Bag", repeated)] if repeated else []
        known = {value.casefold() for value in (*entries_of(root, name), *repeated)}
        new = [value for value in dict.fromkeys(values[record]) if value.casefold() not in known]
        if not new and not repeated:
            continue
        own += [bag(r, f"anytag:{record}", "Bag", new)] if new else []
        if there is None:
            made.append(record)
            own.append(bag(r, f"{prefix}:{name.rpartition('/')[2]}", container, [*repeated, *new]))
        else:
            if there.single:
                made.append(f"{record} single")
            changes.append(appended(text, there, new))
    if iptc.added.keywords:
        own.append(bag(r, "anytag:InIptc", "Bag", iptc.added.keywords))
    made += [f"Iptc {name}" for name in _ADDED if getattr(iptc.added, name)]
    if caption is not None:
        own.append(f"<anytag:Caption>{escape(caption)}</anytag:Caption>")
        if not iptc.has_caption and not has_description(root):
            made.append("Description")
            words = f'<{r}li xml:lang="x-default">{escape(caption)}</{r}li>'
            own.append(f"<dc:description><{r}Alt>{words}</{r}Alt></dc:description>")
    if rdf.single:
        made.append("RDF single")
    if made:
        own.append(bag(r, "anytag:Created", "Bag", made))
    if refused:
        own.append(bag(r, "anytag:Refused", "Bag", refused))
    own += [
        f"<anytag:Model>{escape(provenance.model)}</anytag:Model>",
        f"<anytag:Version>{escape(provenance.version)}</anytag:Version>",
        _tag_list(r, keywords, provenance),
    ]
    changes.append(description(text, rdf, own, f'xmlns:anytag="{OURS}" '))
    return apply_changes(text, changes)


def has_description(root: Element) -> bool:
    """Whether a parsed packet has a description, as an element or an attribute."""
    attributes = (element.attributes for element in rdf_of(root).children)
    return root.find(DC + "description") is not None or any(DC + "description" in names for names in attributes)


def _tag_list(r: str, keywords: Iterable[Keyword], provenance: Provenance) -> str:
    """Return every tag with its score, model and time."""
    origin = {"Model": provenance.model, "Version": provenance.version, "Time": provenance.time}

    def item(keyword: Keyword) -> str:
        fields = {"Name": keyword.name, "Score": f"{keyword.score:.4f}", "Kind": keyword.kind, **origin}
        inside = "".join(f"<anytag:{name}>{escape(value)}</anytag:{name}>" for name, value in fields.items())
        return f'<{r}li {r}parseType="Resource">{inside}</{r}li>'

    return f"<anytag:Tags><{r}Seq>{''.join(map(item, keywords))}</{r}Seq></anytag:Tags>"


def _remove(text: str, path: str, people: Collection[str] = ()) -> str:
    """Remove everything that anytag wrote, and copies of people's keywords that exist elsewhere."""
    root = parse(text, path)
    rdf = rdf_of(root)
    created = set(_recorded(root, "Created"))
    changes: list[Change] = []
    for name, _, _, record in LISTS:
        container = container_of(root, name)
        if container is None:
            continue
        left = _recorded(root, record)
        if record == "Subject":
            left += [word for word in _recorded(root, "Repeated") if word in people]
        for before, item in neighbors(container):
            if item.text in left:
                left.remove(item.text)
                changes.append((blank_before(text, before, item.start), item.end, ""))
    caption = root.find(OURS + "Caption")
    for described in rdf.children:
        for before, child in neighbors(described):
            written = "Description" in created and caption is not None and _is_our_description(child, caption.text)
            if child.name.startswith(OURS) or written:
                changes.append((blank_before(text, before, child.start), child.end, ""))
    return _without_empty(apply_changes(text, changes), path, created)


def _is_our_description(property: Element, caption: str) -> bool:
    """Whether a property is the description that anytag wrote, not changed since."""
    words = "".join(item.text for item in property.walk() if item.name == RDF + "li")
    return property.name == DC + "description" and words == caption


def _without_empty(text: str, path: str, created: set[str]) -> str:
    """Remove lists that anytag created and that are empty now, and empty descriptions."""
    root = parse(text, path)
    rdf = rdf_of(root)
    changes: list[Change] = []
    empty = set()
    for name, _, _, record in LISTS:
        container = container_of(root, name)
        if container is not None and not container.children:
            if record in created:
                empty.add(name)
            elif f"{record} single" in created:
                changes.append(as_single(text, container))
    changes += without_properties(text, rdf, empty, made_by=OURS)
    cut = {end for _, end, _ in changes}
    if "RDF single" in created and all(child.end in cut for child in rdf.children):
        changes = [as_single(text, rdf)]
    return apply_changes(text, changes)


def _recorded(root: Element, record: str) -> list[str]:
    """Return the values of one of anytag's own lists."""
    return entries_of(root, OURS + record)


def _text(root: Element, name: str) -> str:
    found = root.find(OURS + name)
    return "" if found is None else found.text.strip()
