"""XMP sidecars, as Lightroom, digiKam, darktable and immich read them: merged with what is there, and undone whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anytag.writers import xmp
from anytag.writers.records import PictureRecord, TagView
from anytag.writers.sidecars import beside, checked, replace_file

#: What a new sidecar of ``photo.jpg`` is called: ``photo.jpg.xmp`` (darktable, digiKam, immich) or ``photo.xmp``
#: (Lightroom, which keeps it for raw files).
SidecarName = Literal["full", "stem"]


@dataclass(frozen=True)
class XmpSidecars:
    """Writes tags and captions into XMP files beside pictures.

    Attributes:
        view: Knows the tags' parents.
        naming: Of new sidecars; one that is there, under either name, is used.
    """

    view: TagView
    naming: SidecarName = "full"
    name: str = "xmp"
    merges: bool = True

    def target(self, record: PictureRecord) -> Path:
        """The sidecar that is there, or the name of a new one."""
        return sidecar_of(record, self.naming)

    def render(self, record: PictureRecord, before: bytes | None) -> bytes | None:
        """One file's content; see :class:`~anytag.writers.sidecars.SidecarWriter`."""
        return xmp.update(
            before if before is not None else xmp.skeleton(),
            str(self.target(record)),
            keywords(record, self.view),
            record.recognition.caption,
            record.provenance,
        )


def sidecar_of(record: PictureRecord, naming: SidecarName = "full") -> Path:
    """The XMP sidecar of a picture: the one that is there, or the name of a new one.

    Args:
        record: The picture.
        naming: Of a new one.

    Raises:
        SidecarError: If there can be none.
    """
    stem = beside(record, ".xmp")
    full = checked(stem.with_name(Path(record.path).name + ".xmp"))
    there = [path for path in (full, stem) if path.exists()]
    if there == [stem] and _is_shared(record, stem):
        return full
    return there[0] if there else full if naming == "full" or _is_shared(record, stem) else stem


def _is_shared(record: PictureRecord, stem: Path) -> bool:
    """Whether several pictures would have one ``photo.xmp``: it then belongs to the raw file, if to any."""
    from anytag.pictures.formats import PICTURE_EXTENSIONS

    picture = Path(record.path)
    others = (picture.with_suffix(suffix) for suffix in PICTURE_EXTENSIONS if suffix != picture.suffix.lower())
    return any(other.exists() for other in others)


def keywords(record: PictureRecord, view: TagView) -> list[xmp.Keyword]:
    """A record's tags as XMP holds them."""
    return [xmp.Keyword(tag.name, view.path(tag), float(tag.score), tag.kind) for tag in record.tags]


def remove_ours(sidecar: Path) -> Literal["nothing", "changed", "deleted"]:
    """Take everything of ours out of a sidecar; one that anytag began and nobody else used is deleted.

    Raises:
        XmpError: If the file is not XMP.
        OSError: If it cannot be read or written.
    """
    before = sidecar.read_bytes()
    after = xmp.remove(before, str(sidecar))
    if after == before:
        return "nothing"
    if xmp.is_empty(after, str(sidecar)):
        sidecar.unlink()
        return "deleted"
    replace_file(sidecar, after)
    return "changed"
