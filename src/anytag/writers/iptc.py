"""Keywords in a picture's IPTC block, the metadata of programs that are older than XMP.

A block is a row of data sets (IPTC-NAA Information Interchange Model, version 4.2): a byte 0x1C, a record's number, a
data set's number, the length, the value. Ours are put between the others, whose bytes stay as they are, so that taking
ours out gives the old block back.

A block says by its data set 1:90 that it is UTF-8; without, its encoding is anybody's guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_MARKER = 0x1C
_ENVELOPE_VERSION, _CHARACTER_SET = (1, 0), (1, 90)
_APPLICATION_VERSION, _KEYWORDS, _CAPTION = (2, 0), (2, 25), (2, 120)
_UTF_8 = b"\x1b%G"
_FOUR = (4).to_bytes(2, "big")

#: Bytes that a keyword and a caption may have.
MOST_KEYWORD, MOST_CAPTION = 64, 2000


@dataclass(frozen=True, slots=True)
class Added:
    """What anytag put into a block.

    Attributes:
        keywords: In the order of the block.
        caption: Whether the caption is ours.
        character_set: Whether it is we who said that the block is UTF-8.
        envelope: Whether the envelope that says so is ours, too.
        block: Whether we began the block.
    """

    keywords: tuple[str, ...] = ()
    caption: bool = False
    character_set: bool = False
    envelope: bool = False
    block: bool = False


@dataclass(frozen=True, slots=True)
class _DataSet:
    """One value and where it stands in the block."""

    place: tuple[int, int]
    value: bytes
    start: int
    end: int


class Block:
    """An IPTC block as it is.

    Args:
        data: Its bytes; none: there is no block yet.

    Attributes:
        readable: Whether it is what the standard says; nothing can be put into another one.
        end: Where its last value ends; zeros may follow.
    """

    def __init__(self, data: bytes):
        self.data = data
        sets, self.end = _read(data)
        self.readable = not data[self.end :].strip(b"\0")
        self._sets = sets
        named = self._first(_CHARACTER_SET)
        self._is_utf_8 = named == _UTF_8
        self._is_ascii = named is None and all(one.value.isascii() for one in sets)

    @property
    def keywords(self) -> tuple[str, ...]:
        """All of them; without the name of an encoding they are UTF-8 if they can be, else Windows-1252."""
        return tuple(self._decode(one.value) for one in self._sets if one.place == _KEYWORDS)

    @property
    def caption(self) -> str | None:
        """The caption, if there is one."""
        value = self._first(_CAPTION)
        return None if value is None else self._decode(value)

    def with_ours(self, keywords: Sequence[str], caption: str | None) -> tuple[bytes, Added]:
        """Put keywords and a caption in.

        What the block's encoding does not hold, or what is too long for IPTC, is left out, as are keywords that are
        there.

        Args:
            keywords: Ours.
            caption: ``None``: none.

        Returns:
            The new block, and what is ours in it.
        """
        block = not self._sets
        known = {word.strip(" \0").casefold() for word in self.keywords}
        new = [word for word in dict.fromkeys(keywords) if word.casefold() not in known]
        if not (self._is_utf_8 or self._is_ascii):
            # Some encoding, but which? All of them hold ASCII.
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
        """Take out what is ours.

        Args:
            added: What that is.
            caption: Our caption, which somebody may have replaced by another one.

        Returns:
            The block; no bytes if nothing but ours was in it.
        """
        left = list(added.keywords)
        gone = set()
        for number, one in reversed(list(enumerate(self._sets))):
            text = self._decode(one.value)
            if one.place == _KEYWORDS and text in left:
                left.remove(text)
                gone.add(number)
            elif one.place == _CAPTION and added.caption and text == caption:
                gone.add(number)
        stay = [one for number, one in enumerate(self._sets) if number not in gone]
        ours = {_ENVELOPE_VERSION: _FOUR, _CHARACTER_SET: _UTF_8, _APPLICATION_VERSION: _FOUR}
        if added.block and all(ours.get(one.place) == one.value for one in stay):
            return b""
        if added.character_set and all(one.value.isascii() for one in stay):
            stay = _without_character_set(stay, added.envelope)
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
        """Before how many of the data sets a new one stands."""
        like = [number + 1 for number, one in enumerate(self._sets) if one.place == place]
        if like:
            return like[-1]
        return next((number for number, one in enumerate(self._sets) if one.place > place), len(self._sets))

    def _insert(self, pieces: Sequence[tuple[tuple[int, int], bytes]]) -> bytes:
        """The block with data sets at the end of their like, or where their number belongs."""
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


def _without_character_set(sets: Sequence[_DataSet], envelope: bool) -> list[_DataSet]:
    """Without what says UTF-8, and without the envelope's version if that is ours."""
    ours = {_CHARACTER_SET} | ({_ENVELOPE_VERSION} if envelope else set())
    return [one for one in sets if one.place not in ours]


def _read(data: bytes) -> tuple[list[_DataSet], int]:
    """Data sets from the beginning on, and where they end."""
    sets: list[_DataSet] = []
    place = 0
    while place + 5 <= len(data) and data[place] == _MARKER:
        length, begin = int.from_bytes(data[place + 3 : place + 5], "big"), place + 5
        if length & 0x8000:  # Of so many bytes is the length.
            begin += length & 0x7FFF
            length = int.from_bytes(data[place + 5 : begin], "big")
        if begin + length > len(data):
            break
        sets.append(_DataSet((data[place + 1], data[place + 2]), data[begin : begin + length], place, begin + length))
        place = begin + length
    return sets, place
