"""XMP and IPTC inside the pictures themselves, through exiftool, which knows every format's container.

XMP holds everything. IPTC's older block holds the keywords and the caption as well, where a picture has one or the user
wants one, so that the two agree (Metadata Working Group, Guidelines for Handling Image Metadata 2.0). What is ours in
it is on record in the XMP packet.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from anytag.errors import MissingProgramError, SidecarError
from anytag.writers import xmp
from anytag.writers.iptc import Block
from anytag.writers.records import PictureRecord, TagView
from anytag.writers.sidecars import beside
from anytag.writers.xmp_sidecars import keywords
from anytag.writers.xmp_tree import storable

#: Formats in which programs look for an IPTC block.
_TIFF_FORMATS = frozenset({".tif", ".tiff", ".dng"})
_IPTC_FORMATS = frozenset({".jpg", ".jpeg", ".jpe", ".psd"}) | _TIFF_FORMATS

#: Stands between the answers of one run of exiftool; nothing in a picture says it by accident.
_BETWEEN = "--- 6f1f1c1e anytag 9b0d5a77 ---"

#: exiftool's copy while it writes. It stays behind if the machine stops, and then keeps exiftool from ever writing the
#: picture again. One that nobody has written to for so many seconds is such a remnant.
_COPY, _REMNANT = "_exiftool_tmp", 5.0


def exiftool() -> str:
    """Where exiftool is.

    Raises:
        MissingProgramError: If it is not installed.
    """
    found = shutil.which("exiftool")
    if found is None:
        raise MissingProgramError(
            "exiftool is not installed, and only it writes into pictures safely. Install it (Debian: "
            "libimage-exiftool-perl, macOS: brew install exiftool), or write sidecars: --write xmp"
        )
    return found


@dataclass(frozen=True)
class EmbeddedMetadata:
    """Writes tags and captions into the pictures; pixels, other metadata and file times stay as they are.

    Attributes:
        view: Knows the tags' parents.
        iptc: Begin an IPTC block in pictures that have none, where their format has a place for it.
    """

    view: TagView
    iptc: bool = False
    name: str = "embed"

    def write(self, record: PictureRecord) -> bool:
        """Write into one picture; gives whether it was changed.

        Raises:
            SidecarError: If exiftool cannot write the picture.
            MissingProgramError: If exiftool is not installed.
        """
        picture = beside(record, Path(record.path).suffix)
        before = Inside.read(picture)
        packet, path = before.packet or xmp.skeleton(), str(picture)
        ours = xmp.in_iptc(packet, path)
        block = Block(before.iptc)
        people = Block(block.without(ours, xmp.caption_of_ours(packet, path)) if block.readable else b"")
        refused = xmp.refused_names(packet, path)
        if block.keywords:
            # What somebody took out of the block only, with an older program.
            there = {word.casefold() for word in block.keywords}
            refused |= {word.casefold() for word in ours.keywords} - there
        described, theirs = people.caption is not None, _storable(people)
        data, in_step = before.iptc, xmp.InStep(theirs, described)
        if block.readable and (block.data or self._begins(picture)):
            has_description = xmp.is_described(xmp.remove(packet, path, theirs), path)
            names = [name for tag in record.tags if (name := storable(tag.name)).casefold() not in refused]
            caption = None if has_description else storable(record.recognition.caption or "")
            data, added = people.with_ours(names, caption or None)
            in_step = xmp.InStep(theirs, described, added)
        after = xmp.update(
            packet,
            path,
            keywords(record, self.view),
            record.recognition.caption,
            record.provenance,
            refused,
            in_step,
        )
        changed = (after, data) != (before.packet, before.iptc)
        if changed:
            before.replace(picture, after, data, first_digest=in_step.added.block)
        return changed

    def plan(self, pictures: Sequence[str]) -> Iterator[str]:
        """What would be written into each of some pictures.

        Args:
            pictures: Paths.

        Raises:
            MissingProgramError: If exiftool is not installed.
        """
        have = _with_iptc(pictures)
        for picture in pictures:
            with_iptc = picture in have or self._begins(Path(picture))
            yield f"{picture}: XMP and IPTC inside" if with_iptc else f"{picture}: XMP inside"

    def _begins(self, picture: Path) -> bool:
        return self.iptc and picture.suffix.lower() in _IPTC_FORMATS


def remove_embedded(picture: Path) -> bool:
    """Take everything of ours out of a picture; gives whether there was anything.

    Raises:
        SidecarError: If exiftool cannot write the picture.
        MissingProgramError: If exiftool is not installed.
    """
    before, path = Inside.read(picture), str(picture)
    if not before.packet:
        return False
    ours, block = xmp.in_iptc(before.packet, path), Block(before.iptc)
    data = before.iptc
    if block.readable:
        data = block.without(ours, xmp.caption_of_ours(before.packet, path))
    after = xmp.remove(before.packet, path, _storable(Block(data)))
    if after == before.packet:
        return False
    before.replace(picture, b"" if xmp.is_empty(after, path) else after, data)
    return True


@dataclass(frozen=True, slots=True)
class Inside:
    """What a picture holds of metadata that programs keep keywords in.

    Attributes:
        packet: Of XMP; empty if there is none.
        iptc: The IPTC block; empty if there is none.
        digest: Of the block when somebody last brought it and XMP into agreement; empty if nobody noted it.
    """

    packet: bytes
    iptc: bytes
    digest: str

    @staticmethod
    def read(picture: Path) -> Inside:
        """Ask exiftool.

        Raises:
            SidecarError: If it cannot read the picture.
            MissingProgramError: If it is not installed.
        """
        # With their groups: any namespace may have a property that is called so.
        asked = [["-XMP:XMP", "-b"], ["-IPTC:IPTC", "-b"], ["-Photoshop:IPTCDigest", "-s3"]]
        between = f"{_BETWEEN}\n".encode()
        packet, iptc, digest = _run(picture, *asked).split(between)
        return Inside(packet, iptc, digest.decode("ascii", "replace").strip())

    def replace(self, picture: Path, packet: bytes, iptc: bytes, first_digest: bool = False) -> None:
        """Put others in their place, both at once; empty ones go.

        Args:
            picture: The picture.
            packet: The new packet.
            iptc: The new block.
            first_digest: Note the block's digest although nobody did before.

        Raises:
            SidecarError: If exiftool cannot write the picture.
        """
        options = ["-P", "-overwrite_original"]
        if iptc != self.iptc:
            iptc = _padded(picture, iptc)
            # A digest that is not right says that an older program changed the block since: that stays so.
            in_step = self.digest in (_digest(self.iptc), _digest(self.iptc[: Block(self.iptc).end]))
            if in_step or first_digest:
                options.append(f"-IPTCDigest={_digest(iptc) if iptc else ''}")
        with tempfile.TemporaryDirectory() as folder:
            for name, before, after in (("xmp", self.packet, packet), ("iptc", self.iptc, iptc)):
                if after and after != before:
                    file = Path(folder) / name
                    file.write_bytes(after)
                    options.append(f"-{name}<={file}")
                elif after != before:
                    options.append(f"-{name}=")
            # exiftool would put a picture in the place of a link.
            place = picture.resolve()
            _clear_remnant(place)
            then = place.stat()
            _run(picture, options, place=place)
            # exiftool keeps whole seconds.
            os.utime(place, ns=(then.st_atime_ns, then.st_mtime_ns))


def _storable(block: Block) -> tuple[str, ...]:
    """A block's keywords as XMP can hold them."""
    return tuple(map(storable, block.keywords))


def _digest(iptc: bytes) -> str:
    return hashlib.md5(iptc, usedforsecurity=False).hexdigest()


def _padded(picture: Path, iptc: bytes) -> bytes:
    """A block as the file will hold it: TIFF counts in four bytes."""
    if picture.suffix.lower() not in _TIFF_FORMATS:
        return iptc
    end = Block(iptc).end
    return iptc[:end] + bytes(-end % 4)


def _clear_remnant(picture: Path) -> None:
    """Delete what a killed exiftool left; wait for one that is still writing."""
    copy = picture.with_name(picture.name + _COPY)
    begun, seen = time.monotonic(), None
    with suppress(FileNotFoundError):
        while True:
            now = copy.stat()
            if (now.st_size, now.st_mtime) != seen:
                begun, seen = time.monotonic(), (now.st_size, now.st_mtime)
            if max(time.monotonic() - begun, time.time() - now.st_mtime) >= _REMNANT:
                copy.unlink()
                return
            time.sleep(0.1)


def _with_iptc(pictures: Sequence[str]) -> set[str]:
    """The pictures that have an IPTC block; one that cannot be read has none."""
    if not pictures:
        return set()
    command = [exiftool(), "-j", "-m", "-fast", "-IPTC:all", *(str(Path(name).absolute()) for name in pictures)]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    try:
        found = json.loads(done.stdout or b"[]")
    except ValueError:
        return set()
    have = {Path(entry["SourceFile"]) for entry in found if len(entry) > 1}
    return {name for name in pictures if Path(name).absolute() in have}


def _run(picture: Path, *commands: Sequence[str], place: Path | None = None) -> bytes:
    """One run of exiftool; what it prints to several commands stands with :data:`_BETWEEN` between it.

    Args:
        picture: As messages call it.
        commands: What is asked of it.
        place: Where it really is; ``None``: there.
    """
    # An absolute name keeps one that begins with a dash from being an option.
    name, arguments = str((place or picture).absolute()), [exiftool()]
    for number, command in enumerate(commands):
        arguments += ["-execute", "-echo1", _BETWEEN] if number else []
        arguments += ["-m", *command, name]
    done = subprocess.run(arguments, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        said.sort(key=lambda line: not line.startswith("Error"))
        raise SidecarError(f"{picture}: exiftool could not do it ({said[0] if said else f'status {done.returncode}'})")
    return done.stdout
