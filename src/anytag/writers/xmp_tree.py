"""Parse XMP packets with the offsets of their elements, to change them without touching the rest of their bytes.

Other programs wrote most of a sidecar. Parsing and serializing it again would reorder attributes and lose comments,
quotes and line ends; so changes are cut into the text at the offsets that expat reports.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from anytag.errors import XmpError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

#: Characters that XML 1.0 cannot hold, even escaped, and the carriage return, which XML parsers normalize.
_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def storable(text: str) -> str:
    """Replace characters that XML cannot hold by U+FFFD."""
    return _NOT_IN_XML.sub("\ufffd", text)


@dataclass(slots=True)
class Element:
    """An element and its place in the text.

    Attributes:
        name: Namespace and local name as one string, as in ``RDF + "Bag"``.
        attributes: Values by name, in the same form.
        prefixes: Namespaces by the prefixes bound here.
        start: Offset of its ``<``.
        inside: Offset after its start tag.
        close: Offset of its end tag; equal to ``end`` for an empty-element tag (``<rdf:Bag/>``).
        end: Offset after it.
        text: The text directly inside.
        children: Elements inside, in order.
    """

    name: str
    attributes: dict[str, str]
    prefixes: dict[str, str]
    start: int
    inside: int
    close: int = -1
    end: int = -1
    text: str = ""
    children: list[Element] = field(default_factory=list)

    @property
    def single(self) -> bool:
        """Whether it is an empty-element tag."""
        return self.close == self.end

    def walk(self) -> Iterator[Element]:
        """Yield this element and all its descendants."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, name: str) -> Element | None:
        """Return the first element of that name, this one included."""
        return next((element for element in self.walk() if element.name == name), None)

    def prefix(self, namespace: str) -> str | None:
        """Return a prefix bound to the namespace here, with its colon."""
        for prefix, bound in self.prefixes.items():
            if bound == namespace:
                return f"{prefix}:" if prefix else ""
        return None


#: First bytes of a packet, its byte order mark, and its encoding.
_ENCODINGS = (
    (codecs.BOM_UTF8, codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"<\0", b"", "utf-16-le"),
    (b"\0<", b"", "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Encoding:
    """The character encoding of a packet, and its byte order mark."""

    name: str
    mark: bytes

    def decode(self, data: bytes, path: str) -> str:
        """Decode a packet.

        Raises:
            XmpError: If it is not in this encoding.
        """
        try:
            return data[len(self.mark) :].decode(self.name)
        except UnicodeDecodeError as error:
            raise XmpError(f"{path}: not valid {self.name} ({error}); repair or remove the file") from None

    def encode(self, text: str) -> bytes:
        """Encode a packet."""
        return self.mark + text.encode(self.name)


def encoding_of(data: bytes) -> Encoding:
    """Detect the encoding from the first bytes: XMP is UTF-8 or UTF-16."""
    for start, mark, name in _ENCODINGS:
        if data.startswith(start):
            return Encoding(name, mark)
    return Encoding("utf-8", b"")


def parse(text: str, path: str) -> Element:
    """Parse a packet and return its root element; ``path`` is named in messages.

    Raises:
        XmpError: If it is not well-formed XML, has a document type, or holds no RDF.
    """
    # expat counts bytes; offsets in characters are computed at the end.
    data = text.encode("utf-8")
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator="")
    bound: list[dict[str, str]] = [{}]
    new: dict[str, str] = {}
    open_elements: list[Element] = []
    roots: list[Element] = []

    def declare(prefix: str | None, namespace: str | None) -> None:
        new[prefix or ""] = namespace or ""

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal new
        bound.append({**bound[-1], **new})
        new = {}
        at = parser.CurrentByteIndex
        element = Element(name, attributes, bound[-1], at, _behind_tag(data, at))
        (open_elements[-1].children if open_elements else roots).append(element)
        open_elements.append(element)

    def end(name: str) -> None:
        element = open_elements.pop()
        bound.pop()
        single = data[element.inside - 2 : element.inside] == b"/>"
        element.close = element.inside if single else parser.CurrentByteIndex
        element.end = element.inside if single else _behind_tag(data, element.close)

    def characters(content: str) -> None:
        if open_elements:
            open_elements[-1].text += content

    def refuse(*_: object) -> None:
        raise XmpError(f"{path}: has a document type (DOCTYPE), which XMP does not know; it is left as it is")

    parser.StartNamespaceDeclHandler = declare
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise XmpError(f"{path}: not an XMP file ({error}); repair or remove it") from None
    [root] = roots
    if root.find(RDF + "RDF") is None:
        raise XmpError(f"{path}: XML, but without rdf:RDF, so not an XMP file; it is left as it is")
    if len(data) != len(text):
        _count_characters(root, data)
    return root


def parse_packet(data: bytes, path: str) -> Element:
    """Decode and parse a packet; see :func:`parse`."""
    return parse(encoding_of(data).decode(data, path), path)


def rdf_of(root: Element) -> Element:
    """Return the ``rdf:RDF`` element, which holds a packet's descriptions."""
    rdf = root.find(RDF + "RDF")
    assert rdf is not None  # Checked by :func:`parse`.
    return rdf


def _behind_tag(data: bytes, start: int) -> int:
    """Return the offset after the tag at ``start``; a ``>`` in quotes does not end it."""
    match = _TAG.match(data, start)
    assert match is not None  # expat accepted it.
    return match.end()


_TAG = re.compile(rb"""<(?:[^>"']|"[^"]*"|'[^']*')*>""")


def _count_characters(root: Element, data: bytes) -> None:
    """Convert byte offsets to character offsets."""
    elements = list(root.walk())
    wanted = {place for element in elements for place in (element.start, element.inside, element.close, element.end)}
    characters, last, place_of = 0, 0, {}
    for place in sorted(wanted):
        characters += len(data[last:place].decode("utf-8"))
        last = place
        place_of[place] = characters
    for element in elements:
        element.start, element.inside = place_of[element.start], place_of[element.inside]
        element.close, element.end = place_of[element.close], place_of[element.end]
