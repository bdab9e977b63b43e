"""Tags and captions in XMP packets, beside whatever else stands there.

What people wrote is never changed: our keywords are added to theirs, and our description is written only where there is
none. Everything of ours is listed in a namespace of our own, with model, version, score and time, so that
:func:`remove` takes away exactly that, and leaves the rest as it was, to the byte.

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
from anytag.writers.xmp_tree import RDF, Element, encoding_of, parse, rdf_of, storable

#: Namespace of what only anytag writes.
OURS = "urn:anytag:xmp:1.0/"

_META = "adobe:ns:meta/"

#: What may be ours in an IPTC block beside keywords.
_ADDED = ("caption", "character_set", "envelope", "block")


@dataclass(frozen=True, slots=True)
class Keyword:
    """A tag as XMP holds it.

    Attributes:
        name: For ``dc:subject``.
        path: From its most general parent to itself, for the hierarchical lists.
        score: In [0, 1].
        kind: Object, scene, attribute or action.
    """

    name: str
    path: tuple[str, ...]
    score: float
    kind: str


@dataclass(frozen=True, slots=True)
class InStep:
    """What stands in a picture's IPTC block, for the packet to agree with it.

    Attributes:
        people: Keywords there that are not ours.
        described: Whether there is a caption of somebody else's.
        added: What is ours there.
    """

    people: tuple[str, ...] = ()
    described: bool = False
    added: Added = field(default_factory=Added)

    def made(self) -> list[str]:
        """The record of what we began."""
        return [f"Iptc {name}" for name in _ADDED if getattr(self.added, name)]


def skeleton() -> bytes:
    """A packet without content."""
    return (
        "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>\n"
        f"<x:xmpmeta xmlns:x='{_META}' x:xmptk='anytag {__version__}'>\n"
        f" <rdf:RDF xmlns:rdf='{RDF}'>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
        "<?xpacket end='w'?>\n"
    ).encode()


def is_empty(data: bytes, path: str) -> bool:
    """Whether a packet is one that anytag began, with nothing in it anymore."""
    root = parse(encoding_of(data).decode(data, path), path)
    rdf = rdf_of(root)
    made = root.attributes.get(_META + "xmptk", "").startswith("anytag ")
    return made and not rdf.children and len(root.children) == 1


def update(
    data: bytes,
    path: str,
    keywords: Sequence[Keyword],
    caption: str | None,
    provenance: Provenance,
    refused: Collection[str] | None = None,
    in_step: InStep | None = None,
) -> bytes:
    """Put tags and a caption into a packet, in place of those that anytag put there before.

    A keyword of ours that somebody took out of ``dc:subject`` stays out.

    Args:
        data: The packet.
        path: For messages.
        keywords: Tags, best first.
        caption: ``None``: none.
        provenance: What found them.
        refused: Names of tags that people do not want; ``None``: those that they took out before.
        in_step: The picture's IPTC block. Where the packet has no keywords yet, people's keywords of the block go into
            ``dc:subject``, too, because programs that find keywords in XMP show no others.

    Returns:
        The new packet; the very same bytes if nothing but the time would change.

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
    old = _Ours.read(root)
    before = old.refused if old is not None else frozenset()
    unwanted = before if refused is None else frozenset(name.casefold() for name in refused)
    in_step = in_step or InStep()
    if old is not None and old.same(keywords, caption, provenance) and (unwanted, in_step.added) == (before, old.added):
        return data
    if old is not None:
        text = _remove(text, path, in_step.people)
        root = parse(text, path)
    kept = [keyword for keyword in keywords if keyword.name.casefold() not in unwanted]
    return encoding.encode(_insert(text, root, keywords, kept, sorted(unwanted), caption, provenance, in_step))


def remove(data: bytes, path: str, people: Collection[str] = ()) -> bytes:
    """Take out everything that anytag put into a packet; the same bytes if there is nothing.

    Args:
        data: The packet.
        path: For messages.
        people: Keywords of the IPTC block that are not ours. Those that we repeated in the packet go; what stands
            nowhere else stays.

    Raises:
        XmpError: If the packet is not XMP.
    """
    encoding = encoding_of(data)
    text = encoding.decode(data, path)
    return data if _Ours.read(parse(text, path)) is None else encoding.encode(_remove(text, path, people))


def in_iptc(data: bytes, path: str) -> Added:
    """What a packet says is ours in the picture's IPTC block.

    Raises:
        XmpError: If the packet is not XMP.
    """
    ours = _Ours.read(parse(encoding_of(data).decode(data, path), path))
    return Added() if ours is None else ours.added


def caption_of_ours(data: bytes, path: str) -> str | None:
    """The caption that anytag wrote into a packet.

    Raises:
        XmpError: If the packet is not XMP.
    """
    ours = _Ours.read(parse(encoding_of(data).decode(data, path), path))
    return None if ours is None else ours.caption


def is_described(data: bytes, path: str) -> bool:
    """Whether a packet has a description.

    Raises:
        XmpError: If the packet is not XMP.
    """
    return _is_described(parse(encoding_of(data).decode(data, path), path))


def refused_names(data: bytes, path: str) -> frozenset[str]:
    """The tags of ours that people took out of a packet, in lower case (Unicode's case folding).

    Raises:
        XmpError: If the packet is not XMP.
    """
    ours = _Ours.read(parse(encoding_of(data).decode(data, path), path))
    return frozenset() if ours is None else ours.refused


@dataclass(frozen=True, slots=True)
class _Ours:
    """What a packet holds of ours."""

    tags: tuple[tuple[str, str], ...]
    model: str
    version: str
    caption: str | None
    refused: frozenset[str]
    added: Added

    @staticmethod
    def read(root: Element) -> _Ours | None:
        if not any(element.name.startswith(OURS) for element in root.walk()):
            return None
        names = [item.text.strip() for item in root.walk() if item.name == OURS + "Name"]
        scores = [item.text.strip() for item in root.walk() if item.name == OURS + "Score"]
        caption, created = root.find(OURS + "Caption"), _added(root, "Created")
        there = {name.casefold() for name in entries_of(root, DC + "subject")}
        gone = {name.casefold() for name in _added(root, "Subject") + _added(root, "Repeated")} - there
        gone |= {name.casefold() for name in _added(root, "Refused")}
        return _Ours(
            tuple(zip(names, scores, strict=False)),
            _text(root, "Model"),
            _text(root, "Version"),
            caption.text if caption is not None else None,
            frozenset(gone),
            Added(tuple(_added(root, "InIptc")), *(f"Iptc {name}" in created for name in _ADDED)),
        )

    def same(self, keywords: Sequence[Keyword], caption: str | None, provenance: Provenance) -> bool:
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
    in_step: InStep,
) -> str:
    """The packet with a description of ours, and with our keywords in lists that are there already."""
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
            repeated = [word for word in dict.fromkeys(in_step.people) if word.casefold() not in refused]
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
    if in_step.added.keywords:
        own.append(bag(r, "anytag:InIptc", "Bag", in_step.added.keywords))
    made += in_step.made()
    if caption is not None:
        own.append(f"<anytag:Caption>{escape(caption)}</anytag:Caption>")
        if not in_step.described and not _is_described(root):
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


def _is_described(root: Element) -> bool:
    attributes = (element.attributes for element in rdf_of(root).children)
    return root.find(DC + "description") is not None or any(DC + "description" in names for names in attributes)


def _tag_list(r: str, keywords: Iterable[Keyword], provenance: Provenance) -> str:
    """Every tag with its score, and with what found it and when."""
    origin = {"Model": provenance.model, "Version": provenance.version, "Time": provenance.time}

    def item(keyword: Keyword) -> str:
        fields = {"Name": keyword.name, "Score": f"{keyword.score:.4f}", "Kind": keyword.kind, **origin}
        inside = "".join(f"<anytag:{name}>{escape(value)}</anytag:{name}>" for name, value in fields.items())
        return f'<{r}li {r}parseType="Resource">{inside}</{r}li>'

    return f"<anytag:Tags><{r}Seq>{''.join(map(item, keywords))}</{r}Seq></anytag:Tags>"


def _remove(text: str, path: str, people: Collection[str] = ()) -> str:
    """The packet without anything of ours, and without what we repeated of people's keywords elsewhere."""
    root = parse(text, path)
    rdf = rdf_of(root)
    created = set(_added(root, "Created"))
    changes: list[Change] = []
    for name, _, _, record in LISTS:
        container = container_of(root, name)
        if container is None:
            continue
        left = _added(root, record)
        if record == "Subject":
            left += [word for word in _added(root, "Repeated") if word in people]
        for before, item in neighbors(container):
            if item.text in left:
                left.remove(item.text)
                changes.append((blank_before(text, before, item.start), item.end, ""))
    caption = root.find(OURS + "Caption")
    for described in rdf.children:
        for before, child in neighbors(described):
            written = "Description" in created and caption is not None and _says(child, caption.text)
            if child.name.startswith(OURS) or written:
                changes.append((blank_before(text, before, child.start), child.end, ""))
    return _without_empty(apply_changes(text, changes), path, created)


def _says(property: Element, caption: str) -> bool:
    """Whether a property still is the description that we wrote; somebody may have changed it since."""
    words = "".join(item.text for item in property.walk() if item.name == RDF + "li")
    return property.name == DC + "description" and words == caption


def _without_empty(text: str, path: str, created: set[str]) -> str:
    """Without the lists that we began and that are empty now, and without descriptions that hold nothing anymore."""
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


def _added(root: Element, record: str) -> list[str]:
    """What a record of ours lists."""
    return entries_of(root, OURS + record)


def _text(root: Element, name: str) -> str:
    found = root.find(OURS + name)
    return "" if found is None else found.text.strip()
