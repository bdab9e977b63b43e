"""Keywords in a picture's IPTC block, the metadata of programs older than XMP.

A block is a sequence of data sets (IPTC-NAA Information Interchange Model, version 4.2): the byte 0x1C, a record
number, a data set number, the length, the value. Anytag's are inserted between the others, whose bytes stay as they
are, so that removing them restores the old block.

Data set 1:90 declares UTF-8; without it, the encoding is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_MARKER = 0x1C
_ENVELOPE_VERSION, _CHARACTER_SET = (1, 0), (1, 90)
_APPLICATION_VERSION, _KEYWORDS, _CAPTION = (2, 0), (2, 25), (2, 120)
_UTF_8 = b"\x1b%G"
_FOUR = (4).to_bytes(2, "big")

#: Highest number of bytes of a keyword and of a caption.
MOST_KEYWORD, MOST_CAPTION = 64, 2000


@dataclass(frozen=True, slots=True)
class Added:
    """What anytag added to a block.

    Attributes:
        keywords: In the order of the block.
        caption: The caption is anytag's.
        character_set: Anytag declared UTF-8.
        envelope: The envelope record of that declaration is anytag's, too.
        block: Anytag created the block.
    """

    keywords: tuple[str, ...] = ()
    caption: bool = False
    character_set: bool = False
    envelope: bool = False
    block: bool = False


@dataclass(frozen=True, slots=True)
class _DataSet:
    """One value and its place in the block."""

    place: tuple[int, int]
    value: bytes
    start: int
    end: int


class Block:
    """An IPTC block.

    Args:
        data: Its bytes; empty if there is none yet.

    Attributes:
        readable: Whether it follows the standard; only then can it be changed.
        end: Where its last value ends; zeros may follow.
    """

    def __init__(self, data: bytes):
        self.data = data
        self._sets, self.end = _read(data)
        self.readable = not data[self.end :].strip(b"\0")
        declared = self._first(_CHARACTER_SET)
        self._is_utf_8 = declared == _UTF_8
        self._is_ascii = declared is None and all(one.value.isascii() for one in self._sets)

    @property
    def keywords(self) -> tuple[str, ...]:
        """All keywords; without a declared encoding decoded as UTF-8 if possible, else as Windows-1252."""
        return tuple(self._decode(one.value) for one in self._sets if one.place == _KEYWORDS)

    @property
    def caption(self) -> str | None:
        value = self._first(_CAPTION)
        return None if value is None else self._decode(value)

    def with_ours(self, keywords: Sequence[str], caption: str | None) -> tuple[bytes, Added]:
        """Add keywords and a caption.

        Skip keywords that exist, and text that is too long for IPTC or that the block's encoding cannot hold.

        Returns:
            The new block, and what was added.
        """
        block = not self._sets
        known = {word.strip(" \0").casefold() for word in self.keywords}
        new = [word for word in dict.fromkeys(keywords) if word.casefold() not in known]
        if not (self._is_utf_8 or self._is_ascii):
            # The encoding is unknown, but all of them include ASCII.
            new = [word for word in new if word.isascii()]
            caption = caption if caption is None or caption.isascii() else None
        new = [word for word in new if len(word.encode()) <= MOST_KEYWORD]
        if caption is not None and (self.caption is not None or len(caption.encode()) > MOST_CAPTION):
            caption = None
        if not new and caption is None:
            return self.data, Added()
        marked = not self._is_utf_8 and (block or not all(text.isascii() for text in (*new, caption or "")))
        envelope = marked and self._first(_ENVELOPE_VERSION) is None
        pieces: list[tuple[tuple[int, int], bytes]] = []
        if marked:
            pieces += [(_ENVELOPE_VERSION, _FOUR)] * envelope
            pieces.append((_CHARACTER_SET, _UTF_8))
        pieces += [(_APPLICATION_VERSION, _FOUR)] * block
        pieces += [(_KEYWORDS, word.encode()) for word in new]
        pieces += [(_CAPTION, caption.encode())] if caption is not None else []
        return self._insert(pieces), Added(tuple(new), caption is not None, marked, envelope, block)

    def without(self, added: Added, caption: str | None) -> bytes:
        """Remove what anytag added.

        Args:
            added: What was added.
            caption: Anytag's caption; one that somebody changed since stays.

        Returns:
            The block; empty if nothing else was in it.
        """
        left = list(added.keywords)
        stay: list[_DataSet] = []
        for one in reversed(self._sets):  # From the end: an equal keyword of theirs comes first.
            text = self._decode(one.value)
            if one.place == _KEYWORDS and text in left:
                left.remove(text)
            elif not (one.place == _CAPTION and added.caption and text == caption):
                stay.append(one)
        stay.reverse()
        ours = {_ENVELOPE_VERSION: _FOUR, _CHARACTER_SET: _UTF_8, _APPLICATION_VERSION: _FOUR}
        if added.block and all(ours.get(one.place) == one.value for one in stay):
            return b""
        if added.character_set and all(one.value.isascii() for one in stay):
            declaration = {_CHARACTER_SET} | ({_ENVELOPE_VERSION} if added.envelope else set())
            stay = [one for one in stay if one.place not in declaration]
        return b"".join(self.data[one.start : one.end] for one in stay) + self.data[self.end :]

    def _first(self, place: tuple[int, int]) -> bytes | None:
        return next((one.value for one in self._sets if one.place == place), None)

    def _decode(self, value: bytes) -> str:
        if self._is_utf_8:
            return value.decode("utf-8", "replace")
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("cp1252", "replace")

    def _place_of(self, place: tuple[int, int]) -> int:
        """Return the index at which to insert a data set."""
        like = [number + 1 for number, one in enumerate(self._sets) if one.place == place]
        if like:
            return like[-1]
        return next((number for number, one in enumerate(self._sets) if one.place > place), len(self._sets))

    def _insert(self, pieces: Sequence[tuple[tuple[int, int], bytes]]) -> bytes:
        """Insert data sets after others of their kind, or else in numeric order."""
        after = [self._place_of(place) for place, _ in pieces]
        made = bytearray()
        for number in range(len(self._sets) + 1):
            for (place, value), where in zip(pieces, after, strict=True):
                if where == number:
                    made += bytes((_MARKER, *place)) + len(value).to_bytes(2, "big") + value
            if number < len(self._sets):
                one = self._sets[number]
                made += self.data[one.start : one.end]
        return bytes(made) + self.data[self.end :]


def _read(data: bytes) -> tuple[list[_DataSet], int]:
    """Return the data sets, and the offset where they end."""
    sets: list[_DataSet] = []
    place = 0
    while place + 5 <= len(data) and data[place] == _MARKER:
        length, begin = int.from_bytes(data[place + 3 : place + 5], "big"), place + 5
        if length & 0x8000:  # The low bits are the number of bytes of the length.
            begin += length & 0x7FFF
            length = int.from_bytes(data[place + 5 : begin], "big")
        if begin + length > len(data):
            break
        sets.append(_DataSet((data[place + 1], data[place + 2]), data[begin : begin + length], place, begin + length))
        place = begin + length
    return sets, place
