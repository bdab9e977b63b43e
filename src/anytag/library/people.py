"""Keywords that people give a picture, next to the model's tags; they live only in the picture's XMP sidecar."""

from __future__ import annotations

import contextlib
import threading
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytag.errors import AnytagError, SidecarError, UsageError
from anytag.library.entries import digest_of
from anytag.recognition import Recognition, Tag
from anytag.writers import xmp
from anytag.writers.records import PictureRecord, Provenance, TagView
from anytag.writers.sidecars import read_if_present, replace_file
from anytag.writers.xmp_people import edit, people_keywords
from anytag.writers.xmp_sidecars import keywords, sidecar_of

#: Highest number of keywords of one picture, and of characters of one keyword.
MOST_KEYWORDS, MOST_CHARACTERS = 500, 200

#: Serializes edits, so that none overwrites another.
_editing = threading.Lock()


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What people wrote about a picture.

    Attributes:
        people: Their keywords, in order.
        refused: Tags of the model that they rejected, case-folded.
        path: The file; ``None`` if there is none.
        revision: A digest of the file; empty if there is none.
    """

    people: tuple[str, ...] = ()
    refused: frozenset[str] = frozenset()
    path: Path | None = None
    revision: str = ""


@dataclass(frozen=True, slots=True)
class PictureTags:
    """A picture's tags, from the model (rejected ones included) and from people."""

    number: int
    path: str
    tags: tuple[Tag, ...]
    sidecar: Sidecar
    caption: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the service's answer."""
        refused = self.sidecar.refused
        return {
            "id": self.number,
            "path": self.path,
            "caption": self.caption,
            "tags": [{**tag.to_json(), "refused": tag.name.casefold() in refused} for tag in self.tags],
            "people": list(self.sidecar.people),
            "sidecar": None if self.sidecar.path is None else str(self.sidecar.path),
            "revision": self.sidecar.revision,
        }


def read_sidecar(path: str, in_archive: bool = False) -> Sidecar:
    """Read what people wrote about a picture; empty if there is no readable sidecar."""
    if in_archive:
        return Sidecar()
    nothing = PictureRecord(path, Recognition(path, ()), Provenance("", "", ""))
    with contextlib.suppress(AnytagError, OSError):
        place = sidecar_of(nothing)
        return _parse_sidecar(read_if_present(place), place)
    return Sidecar()


def _parse_sidecar(data: bytes | None, place: Path) -> Sidecar:
    if data is None:
        return Sidecar()
    people, refused = people_keywords(data, str(place)), xmp.Ours.read(data, str(place)).refused
    return Sidecar(people, refused, place, digest_of(data).hex())


def write_sidecar(
    record: PictureRecord, view: TagView, people: Sequence[str], refused: Sequence[str], revision: str | None = None
) -> None:
    """Write a picture's sidecar: tags as ``anytag batch --write xmp`` does, and people's keywords.

    Arguments and errors are those of :meth:`anytag.Library.edit`.
    """
    place = sidecar_of(record)
    if not Path(record.path).exists():
        raise SidecarError(f"{record.path}: no longer exists; update the index (anytag index)")
    with _editing:
        data = read_if_present(place)
        before = _parse_sidecar(data, place)
        if revision is not None and revision != before.revision:
            raise SidecarError(f"{place}: was changed by somebody else; read it again, then change it")
        names = checked_keywords(people, before.people)
        shown, caption = view(record), record.recognition.caption
        start = xmp.skeleton() if data is None else data
        new = edit(start, str(place), names, refused, keywords(shown, view), caption, record.provenance)
        if new != data:
            replace_file(place, new)


def checked_keywords(names: Sequence[str], known: Collection[str] = ()) -> tuple[str, ...]:
    """Return valid keywords, stripped and without duplicates; those already ``known`` are not checked.

    Raises:
        UsageError: If one is empty, too long or has control characters, or if there are too many.
    """
    once: dict[str, str] = {}
    for name in names:
        text = name if name in known else _checked(name.strip())
        once.setdefault(text.casefold(), text)
    if len(once) > MOST_KEYWORDS:
        raise UsageError(f"{len(once)} tags; a picture can have at most {MOST_KEYWORDS} of people")
    return tuple(once.values())


def _checked(text: str) -> str:
    if not text:
        raise UsageError("a tag is empty")
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"{text[:40]} …: a tag has at most {MOST_CHARACTERS} characters")
    # XML cannot hold control characters and these two noncharacters.
    if any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") or one in "\ufffe\uffff" for one in text):
        raise UsageError(f"{text!r}: a tag has no line breaks or control characters")
    return text
