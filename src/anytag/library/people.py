"""What people say of a picture, beside what the model found: kept in the picture's XMP sidecar and nowhere else."""

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
from anytag.writers.sidecars import replace_file
from anytag.writers.xmp_people import edit, people_keywords
from anytag.writers.xmp_sidecars import keywords, sidecar_of

#: Keywords of one picture, and characters of one keyword.
MOST_KEYWORDS, MOST_CHARACTERS = 500, 200

#: One edit at a time, so that none is made on what another one is about to replace.
_editing = threading.Lock()


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What people said of a picture.

    Attributes:
        people: Their keywords, in their order.
        refused: Tags of ours that they do not want, in lower case (Unicode's case folding).
        path: The file; ``None``: there is none.
        revision: Changes whenever the file does; empty: there is none.
    """

    people: tuple[str, ...] = ()
    refused: frozenset[str] = frozenset()
    path: Path | None = None
    revision: str = ""


@dataclass(frozen=True, slots=True)
class PictureTags:
    """A picture's tags, ours and those of people.

    Attributes:
        number: In the index.
        path: Of the picture.
        tags: Ours, best first, the refused ones included.
        sidecar: What people said.
        caption: Ours, if captions were written.
    """

    number: int
    path: str
    tags: tuple[Tag, ...]
    sidecar: Sidecar
    caption: str | None

    def to_json(self) -> dict[str, Any]:
        """As the service answers."""
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
    """What people said of a picture; nothing where there is no sidecar, or none that can be read."""
    if in_archive:
        return Sidecar()
    nothing = PictureRecord(path, Recognition(path, ()), Provenance("", "", ""))
    with contextlib.suppress(AnytagError, OSError):
        place = sidecar_of(nothing)
        return _understood(_content(place), place)
    return Sidecar()


def _content(place: Path) -> bytes | None:
    try:
        return place.read_bytes()
    except FileNotFoundError:
        return None


def _understood(data: bytes | None, place: Path) -> Sidecar:
    if data is None:
        return Sidecar()
    people, refused = people_keywords(data, str(place)), xmp.Ours.read(data, str(place)).refused
    return Sidecar(people, refused, place, digest_of(data).hex())


def write_sidecar(
    record: PictureRecord, view: TagView, people: Sequence[str], refused: Sequence[str], revision: str | None = None
) -> Path:
    """Write a picture's sidecar: ours as ``anytag batch --write xmp`` does, and what people say of it.

    Args:
        record: What was found in the picture.
        view: Knows the tags' parents.
        people: Their keywords, all of them.
        refused: Tags of ours that they do not want, all of them.
        revision: Of the sidecar that these were chosen by; ``None``: whatever stands there is replaced.

    Returns:
        The sidecar.

    Raises:
        UsageError: If a keyword cannot be one.
        SidecarError: If the picture cannot have a sidecar, is gone, or its sidecar is another one by now.
        XmpError: If a file of the sidecar's name is not XMP.
        OSError: If the file cannot be written; what was there before is there still.
    """
    place = sidecar_of(record)
    if not Path(record.path).exists():
        raise SidecarError(f"{record.path}: is not there anymore; update the index (anytag index)")
    with _editing:
        data = _content(place)
        before = _understood(data, place)
        if revision is not None and revision != before.revision:
            raise SidecarError(f"{place}: was changed by somebody else meanwhile; look at it again, then change it")
        names = checked_keywords(people, before.people)
        shown, caption = view(record), record.recognition.caption
        start = xmp.skeleton() if data is None else data
        new = edit(start, str(place), names, refused, keywords(shown, view), caption, record.provenance)
        if new != data:
            replace_file(place, new)
    return place


def checked_keywords(names: Sequence[str], known: Collection[str] = ()) -> tuple[str, ...]:
    """Keywords as XMP and other programs can hold them: without blanks around them, each once.

    Args:
        names: What people gave.
        known: What stands in the sidecar already, and stays as it is.

    Raises:
        UsageError: If one is empty, too long or has control characters, or if there are too many.
    """
    once: dict[str, str] = {}
    for name in names:
        text = name if name in known else _checked(name.strip())
        once.setdefault(text.casefold(), text)
    if len(once) > MOST_KEYWORDS:
        raise UsageError(f"{len(once)} tags; a picture has at most {MOST_KEYWORDS} of people")
    return tuple(once.values())


def _checked(text: str) -> str:
    if not text:
        raise UsageError("a tag is empty")
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"{text[:40]} …: a tag has at most {MOST_CHARACTERS} characters")
    # XML holds no control characters, and two noncharacters neither.
    if any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") or one in "\ufffe\uffff" for one in text):
        raise UsageError(f"{text!r}: a tag has no line breaks or control characters")
    return text
