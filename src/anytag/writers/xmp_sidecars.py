"""XMP sidecars for Lightroom, digiKam, darktable and immich: merged with existing ones, and removable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anytag.pictures.formats import PICTURE_EXTENSIONS
from anytag.writers import xmp
from anytag.writers.records import PictureRecord, TagView
from anytag.writers.sidecars import beside, checked, replace_file

#: The name of a new sidecar of ``photo.jpg``: ``photo.jpg.xmp`` (darktable, digiKam, immich) or ``photo.xmp``
#: (Lightroom, for raw files).
SidecarName = Literal["full", "stem"]


@dataclass(frozen=True)
class XmpSidecars:
    """Write tags and captions into XMP files beside pictures.

    Attributes:
        view: Knows the tags' parents.
        naming: Name of new sidecars; an existing one is used under either name.
    """

    view: TagView
    naming: SidecarName = "full"
    name: str = "xmp"
    merges: bool = True

    def target(self, record: PictureRecord) -> Path:
        return sidecar_of(record, self.naming)

    def render(self, record: PictureRecord, before: bytes | None) -> bytes | None:
        """Return the content of one file; see :class:`~anytag.writers.sidecars.SidecarWriter`."""
        return xmp.update(
            before if before is not None else xmp.skeleton(),
            str(self.target(record)),
            keywords(record, self.view),
            record.recognition.caption,
            record.provenance,
        )


def sidecar_of(record: PictureRecord, naming: SidecarName = "full") -> Path:
    """Return the path of a picture's XMP sidecar: the existing one, or the name of a new one.

    Raises:
        SidecarError: If the picture cannot have one.
    """
    stem = beside(record, ".xmp")
    full = checked(stem.with_name(Path(record.path).name + ".xmp"))
    there = [path for path in (full, stem) if path.exists()]
    if there == [stem] and _is_shared(record, stem):
        return full
    return there[0] if there else full if naming == "full" or _is_shared(record, stem) else stem


def _is_shared(record: PictureRecord, stem: Path) -> bool:
    """Whether several pictures would share one ``photo.xmp``, which then belongs to the raw file."""
    picture = Path(record.path)
    others = (picture.with_suffix(suffix) for suffix in PICTURE_EXTENSIONS if suffix != picture.suffix.lower())
    return any(other.exists() for other in others)


def keywords(record: PictureRecord, view: TagView) -> list[xmp.Keyword]:
    """Return a record's tags as XMP keywords."""
    return [xmp.Keyword(tag.name, view.path(tag), float(tag.score), tag.kind) for tag in record.tags]


def remove_ours(sidecar: Path) -> Literal["nothing", "changed", "deleted"]:
    """Remove everything that anytag wrote from a sidecar; delete it if anytag created it and nothing else is left.

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
